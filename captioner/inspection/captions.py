"""What is there to say about the captions? Empty, long, foreign and repeated ones, and how many words stay unknown."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from captioner.data.samples import CaptionDataset
from captioner.inspection.findings import Finding, Subject
from captioner.text.normalization import caption_normalizer

SIZES = (500, 1000, 2000, 4000, 8000, 16000)
"""Numbers of known words for which unknown ones are counted."""

_SHOWN = 80  # characters of a caption in a message


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a caption is worth telling of.

    Attributes:
        max_words: Longer captions are told of.
        photos: A caption of so many photos and more is told of.
        script: The script that is expected, such as "Latin" or "Cyrillic"; None for the one of most letters.
    """

    max_words: int
    photos: int
    script: str | None


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """How many words stay unknown with a vocabulary of the training captions' most frequent words.

    Attributes:
        words: Words that are known.
        min_count: How often each of them occurs at least in the training captions.
        rates: Share of a split's words that are unknown, 0–1, by split.
    """

    words: int
    min_count: int
    rates: dict[str, float]


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """What is known about all captions.

    Attributes:
        findings: What is worth telling.
        lengths: How many captions have so many words.
        script: The script that was expected.
        unknown: By size of the vocabulary, all words last; empty where there is no training split.
    """

    findings: list[Finding]
    lengths: Counter[int]
    script: str
    unknown: list[UnknownWords]


def inspect_captions(datasets: Mapping[str, CaptionDataset], limits: Limits) -> CaptionFacts:
    """What there is to say about the captions of all splits."""
    normalizer = caption_normalizer(lowercase=True)
    lengths: Counter[int] = Counter()
    counts: dict[str, Counter[str]] = {split: Counter() for split in datasets}
    photos_of: defaultdict[str, list[Subject]] = defaultdict(list)
    scripts: Counter[str] = Counter()
    own_scripts: list[tuple[Subject, str, str]] = []
    findings: list[Finding] = []
    for subject, captions in _captions(datasets):
        seen: set[str] = set()
        for caption in captions:
            text = normalizer.normalize_str(caption)
            words = text.split(" ") if text else []
            lengths[len(words)] += 1
            counts[subject.split].update(words)
            if not words:
                findings.append(Finding("empty", (subject,), repr(caption[:_SHOWN])))
                continue
            if len(words) > limits.max_words:
                findings.append(Finding("long", (subject,), f"{len(words)} words: {_shown(caption)}"))
            if text in seen:
                findings.append(Finding("repeated", (subject,), _shown(caption)))
            else:
                photos_of[text].append(subject)
            seen.add(text)
            letters = Counter(filter(None, map(_script, text)))
            scripts.update(letters)
            if letters:
                own_scripts.append((subject, caption, max(letters, key=lambda name: (letters[name], name))))
    expected = (limits.script or (scripts.most_common(1)[0][0] if scripts else "Latin")).title()
    findings += [
        Finding("script", (subject,), f"{own}: {_shown(caption)}")
        for subject, caption, own in own_scripts
        if own != expected
    ]
    common = [(text, subjects) for text, subjects in photos_of.items() if len(subjects) >= limits.photos]
    findings += [
        Finding("common", (), f"{len(subjects):,} photos: {_shown(text)}")
        for text, subjects in sorted(common, key=lambda item: (-len(item[1]), item[0]))
    ]
    return CaptionFacts(findings, lengths, expected, list(_unknown(counts)))


def _captions(datasets: Mapping[str, CaptionDataset]) -> Iterator[tuple[Subject, Sequence[str]]]:
    for split, dataset in datasets.items():
        for index in range(len(dataset)):
            sample = dataset[index]
            yield Subject(split, index, sample.id), sample.captions


def _unknown(counts: Mapping[str, Counter[str]]) -> Iterator[UnknownWords]:
    if not counts.get("train"):
        return
    ranked = sorted(counts["train"].items(), key=lambda item: (-item[1], item[0]))
    for size in (*(size for size in SIZES if size < len(ranked)), len(ranked)):
        known = {word for word, _ in ranked[:size]}
        yield UnknownWords(
            size,
            ranked[size - 1][1],
            {
                split: sum(number for word, number in words.items() if word not in known)
                / max(1, words.total())
                for split, words in counts.items()
            },
        )


@functools.cache
def _script(character: str) -> str | None:
    """The script of a letter, as the first word of its name in Unicode tells; None for what is no letter."""
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "")
    first = name.partition(" ")[0].title()
    return {"Cjk": "Han", "Hiragana": "Japanese", "Katakana": "Japanese"}.get(first, first) or None


def _shown(caption: str) -> str:
    text = " ".join(caption.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
