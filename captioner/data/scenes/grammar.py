"""Strict parser of the language of `scenes` captions: the claims that a caption makes.

    caption   := [opening] item ("and" item)*  |  [opening] phrase relation phrase
               |  clause ("and" clause)* ["and" "there" be item ("and" item)*]
    opening   := "there" be | "a picture of"
    item      := phrase [place]
    clause    := phrase be predicate ("and" predicate)*
    predicate := relation phrase | place
    phrase    := ("a" | "an" | "one" | "two" | "three") [size] [colour] noun

A verb agrees with the first phrase after "there", or with its subject; a noun with its count; "an" precedes a vowel.
The grammar needs one token of lookahead, so every caption has at most one parse. A relation after a list, or a list
after a relation ("a star above a ring and a heart"), is excluded as ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from captioner.data.scenes.relations import PLACES, RELATIONS
from captioner.data.scenes.shapes import SHAPES
from captioner.data.scenes.words import COUNTS, PLURALS, article
from captioner.data.scenes.world import COLOURS, SIZES


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """One noun phrase as written.

    Attributes:
        text: The phrase without its article.
        word_index: Index of the noun in `caption.split()`.
        noun: The noun as written.
        shape: The shape it names.
        colour: One of `COLOURS`, or None without colour.
        size: One of `SIZES`, or None without size.
        number: The number of objects it names.
        exact: Whether it has a number word, which states the exact number; an article allows more.
    """

    text: str
    word_index: int
    noun: str
    shape: str
    colour: str | None
    size: str | None
    number: int
    exact: bool


@dataclass(slots=True)
class Claims:
    """The claims of a caption.

    Attributes:
        phrases: Its noun phrases in order.
        relations: (words, subject, other): indices into `phrases`.
        places: (words, phrase): index into `phrases`.
    """

    phrases: list[NounPhrase] = field(default_factory=list)
    relations: list[tuple[str, int, int]] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)


class GrammarError(Exception):
    """The caption is not in the language; the message names the first word that does not fit."""


def parse(caption: str) -> Claims:
    """Parse a whole caption. Raises `GrammarError` if it is not in the language."""
    return _Parser(caption.split()).caption()


def extract_noun_phrases(caption: str) -> list[NounPhrase]:
    """The noun phrases of a caption, grammatical or not: each noun with the adjectives directly before it."""
    words = caption.split()
    phrases = []
    for index, noun in enumerate(words):
        if noun in SHAPES or noun in PLURALS:
            start = index
            colour = words[start - 1] if start and words[start - 1] in COLOURS else None
            start -= colour is not None
            size = words[start - 1] if start and words[start - 1] in SIZES else None
            start -= size is not None
            number = COUNTS.get(words[start - 1], 1) if start else 1
            shape = PLURALS.get(noun, noun)
            text = " ".join(words[start : index + 1])
            exact = start > 0 and words[start - 1] in COUNTS
            phrases.append(NounPhrase(text, index, noun, shape, colour, size, number, exact))
    return phrases


class _Parser:
    """Recursive-descent parser with one method per rule; collects `claims`."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0
        self.claims = Claims()

    def caption(self) -> Claims:
        if self.take("a picture of"):
            self.body(verb=None)
        elif self.take("there"):
            self.body(verb=self.verb())
        else:
            subject = self.phrase()
            if self.peek() in ("is", "are"):
                self.clauses(subject)
            else:
                self.rest_of_body(subject)
        if self.at < len(self.words):
            raise self.unexpected("the end")
        return self.claims

    def body(self, verb: str | None) -> None:
        first = self.phrase()
        if verb is not None:
            self.agree(verb, first)
        self.rest_of_body(first)

    def rest_of_body(self, first: int) -> None:
        if (words := self.one_of(RELATIONS)) is not None:
            self.claims.relations.append((words, first, self.phrase()))
        else:
            self.rest_of_list(first)

    def rest_of_list(self, first: int) -> None:
        self.place(first)
        while self.take("and"):
            self.place(self.phrase())

    def clauses(self, subject: int) -> None:
        self.agree(self.verb(), subject)
        self.predicate(subject)
        while self.take("and"):
            if self.take("there"):
                verb = self.verb()
                first = self.phrase()
                self.agree(verb, first)
                self.rest_of_list(first)
                return
            if self.peek() in ("a", "an", *COUNTS):
                subject = self.phrase()
                self.agree(self.verb(), subject)
            self.predicate(subject)

    def predicate(self, subject: int) -> None:
        if (words := self.one_of(RELATIONS)) is not None:
            self.claims.relations.append((words, subject, self.phrase()))
        elif not self.place(subject):
            raise self.unexpected("a relation or a place")

    def place(self, phrase: int) -> bool:
        words = self.one_of(PLACES)
        if words is not None:
            self.claims.places.append((words, phrase))
        return words is not None

    def phrase(self) -> int:
        """Parse a noun phrase. Returns its index in `claims.phrases`."""
        counted = self.peek()
        if counted not in ("a", "an", *COUNTS):
            raise self.unexpected("an article or a number")
        self.at += 1
        start = self.at
        size = self.one_of(SIZES)
        colour = self.one_of(COLOURS)
        number = COUNTS.get(counted, 1)
        noun = self.one_of(SHAPES if number == 1 else PLURALS)
        if noun is None:
            raise self.unexpected("a singular noun" if number == 1 else "a plural noun")
        if counted in ("a", "an") and counted != article(self.words[start]):
            self.at = start - 1
            raise self.unexpected(article(self.words[start]))
        text = " ".join(self.words[start : self.at])
        shape = PLURALS.get(noun, noun)
        exact = counted in COUNTS
        self.claims.phrases.append(NounPhrase(text, self.at - 1, noun, shape, colour, size, number, exact))
        return len(self.claims.phrases) - 1

    def verb(self) -> str:
        word = self.peek()
        if word not in ("is", "are"):
            raise self.unexpected("is or are")
        self.at += 1
        return word

    def agree(self, verb: str, phrase: int) -> None:
        named = self.claims.phrases[phrase]
        if (verb == "is") != (named.number == 1):
            raise GrammarError(f'"{verb}" does not agree with {named.number} {named.text}')

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, text: str) -> bool:
        """Consume these words if they come next. Returns whether they did."""
        expected = text.split()
        found = self.words[self.at : self.at + len(expected)] == expected
        self.at += len(expected) if found else 0
        return found

    def one_of(self, texts: Iterable[str]) -> str | None:
        """Consume and return the text that comes next, if any. No text is a prefix of another."""
        return next((text for text in texts if self.take(text)), None)

    def unexpected(self, expected: str) -> GrammarError:
        found = f'"{self.peek()}"' if self.peek() else "the end"
        return GrammarError(f"word {self.at + 1} is {found} where {expected} was expected")
