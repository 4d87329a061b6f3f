"""Construction of searches from settings, and constraints on words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.decoding import MbrSearch, SampleSearch, SpecialTokens, make_search, search_from_settings
from captioner.decoding.word_constraints import required_from_words, word_constraints
from captioner.errors import DataError, UsageError
from captioner.metrics.document_frequency import document_frequency, save_document_frequency
from captioner.text.function_words import NEVER_LAST
from captioner.text.tokenizer import Tokenizer
from tests.decoding.conftest import captions, decoder, memory

TEXTS = ["a dog runs with a red ball", "two men sit on a bench", "the dog and the catfish", "a cat"]
WORDS = Tokenizer.train(TEXTS)
PIECES = Tokenizer.train(TEXTS, kind="bpe", vocab_size=290)
SPECIAL_TOKENS = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))


def texts(tokenizer: Tokenizer, **settings: Any) -> list[str]:
    search = make_search(tokenizer=tokenizer, max_length=14, **settings)
    result = search(decoder(tokenizer.vocab_size - 4, max_length=20), memory(5), SPECIAL_TOKENS)
    return [tokenizer.decode(caption) for of_image in captions(result) for caption in of_image if caption]


@pytest.mark.parametrize("tokenizer", [WORDS, PIECES])
def test_captions_meet_constraints_on_words(tokenizer: Tokenizer) -> None:
    assert all(text.startswith("two men") for text in texts(tokenizer, prefix="Two men"))
    assert all(" dog " in f" {text} " for text in texts(tokenizer, required=["dog"]))
    assert all(
        "red ball" in text and " cat " in f" {text} " for text in texts(tokenizer, required="red ball, cat")
    )
    for method in ("greedy", "beam", "sample", "contrastive", "diverse_beam", "mbr"):
        for text in texts(tokenizer, method=method, no_trailing=True):
            assert text.split()[-1:] == [] or text.split()[-1] not in NEVER_LAST


@pytest.mark.parametrize("tokenizer", [WORDS, PIECES])
@pytest.mark.parametrize("method", ["greedy", "beam", "diverse_beam", "contrastive", "sample", "mbr"])
def test_the_last_word_of_a_prefix_is_not_continued(tokenizer: Tokenizer, method: str) -> None:
    for prefix in ("a cat", "two"):
        for text in texts(tokenizer, prefix=prefix, method=method, min_length=8):
            assert text.split()[: len(prefix.split())] == prefix.split()


def test_banned_words_do_not_occur() -> None:
    words = " ".join(texts(WORDS)).split()
    frequent = max(set(words), key=words.count)
    assert not any(frequent in text.split() for text in texts(WORDS, banned=[frequent, "unicorn"]))


def allowed_after(tokens: list[int], constraint: Any, *, remaining: int = 9) -> set[int]:
    logprobs = torch.zeros(1, 1, PIECES.vocab_size)
    constraint.mask(
        logprobs, torch.tensor([[tokens]], dtype=torch.long), remaining=remaining, special=SPECIAL_TOKENS
    )
    return {i for i, value in enumerate(logprobs[0, 0].tolist()) if value == 0}


def test_a_longer_word_may_begin_with_a_banned_one() -> None:
    (constraint,) = word_constraints(PIECES, banned=["cat", "red ball"])
    for text in ("the catfish", "a red balloon", "catfish cats", "ball red"):
        tokens = PIECES.encode(text)
        for at in range(len(tokens)):
            assert tokens[at] in allowed_after(tokens[:at], constraint), text
        assert SPECIAL_TOKENS.end in allowed_after(tokens, constraint)
    for text in ("the cat", "a red ball"):
        after = allowed_after(PIECES.encode(text), constraint)
        assert after
        assert not any(PIECES.id_to_token(i).startswith("Ġ") for i in after)
        assert SPECIAL_TOKENS.end not in after
        # Where only EOS fits after the word, its last token is forbidden.
        *head, last = PIECES.encode(text)
        assert last in allowed_after(head, constraint, remaining=3)
        assert last not in allowed_after(head, constraint, remaining=2)


def segmentations(word: str) -> list[list[int]]:
    """Every segmentation of a word into tokens."""
    ids = {PIECES.id_to_token(i): i for i in range(PIECES.vocab_size)}
    if not word:
        return [[]]
    heads = (at for at in range(1, len(word) + 1) if word[:at] in ids)
    return [[ids[word[:at]], *rest] for at in heads for rest in segmentations(word[at:])]


def test_a_banned_word_is_banned_in_every_segmentation() -> None:
    (constraint,) = word_constraints(PIECES, banned=["cat", "Über", "red ball"])
    assert len(segmentations("Ġcat")) > 2
    for word in ("Ġcat", "".join(map(PIECES.id_to_token, PIECES.encode("Über"))), "ĠredĠball"):
        for tokens in segmentations(word):
            after = allowed_after([*PIECES.encode("the"), *tokens], constraint)
            assert after
            assert SPECIAL_TOKENS.end not in after
            assert not any(PIECES.id_to_token(i).startswith("Ġ") for i in after)
            assert tokens[-1] not in allowed_after(tokens[:-1], constraint, remaining=2)
            # It is allowed further back, where a prefix may contain it.
            assert SPECIAL_TOKENS.end in allowed_after([*tokens, *PIECES.encode("dog")], constraint)


@pytest.mark.parametrize("method", ["beam", "sample"])
def test_no_caption_contains_a_banned_word(method: str) -> None:
    alphabet = Tokenizer.train(["a b ab"], kind="bpe", vocab_size=265)
    search = make_search(tokenizer=alphabet, method=method, max_length=9, banned=["a", "ab", "b a"])
    others = (i for i in range(3, alphabet.vocab_size) if not set(alphabet.id_to_token(i)) <= set("Ġab"))
    special = SpecialTokens(pad=0, begin=1, end=2, banned=tuple(others))
    result = search(decoder(alphabet.vocab_size - 4, max_length=20), memory(40), special)
    words = [alphabet.decode(caption) for image in captions(result) for caption in image]
    assert len(set(words)) > 5
    for text in words:
        assert not {"a", "ab"} & set(text.split())
        assert " b a " not in f" {text} "


def test_words_of_the_prefix_are_not_banned() -> None:
    _, constraint = word_constraints(PIECES, prefix="a cat", banned=["cat", "cat sits"])
    assert SPECIAL_TOKENS.end in allowed_after(PIECES.encode("a cat"), constraint)
    assert SPECIAL_TOKENS.end not in allowed_after(PIECES.encode("a cat sits"), constraint)
    assert SPECIAL_TOKENS.end not in allowed_after(PIECES.encode("a cat and a cat"), constraint)


def test_a_required_word_may_begin_with_a_banned_one() -> None:
    result = texts(PIECES, required=["catfish", "dog"], banned=["cat", "a"])
    assert result
    for text in result:
        assert {"catfish", "dog"} <= set(text.split())
        assert not {"cat", "a"} & set(text.split())
    with pytest.raises(UsageError, match=r"'red cat' .*required.*'cat' .*banned"):
        required_from_words(PIECES, ["red cat"], banned=["cat"])


def test_a_required_word_is_not_matched_inside_another() -> None:
    required = required_from_words(PIECES, ["cat"])
    assert required is not None
    cat, catfish = PIECES.encode("cat"), PIECES.encode("catfish")
    assert catfish[: len(cat)] == cat  # precondition of this test
    for tokens, present in (
        (catfish, False),
        (cat, True),
        ([*catfish, *cat], True),
        ([*cat, *PIECES.encode("dog")], True),
    ):
        logprobs = torch.zeros(1, 1, PIECES.vocab_size)
        required.mask(logprobs, torch.tensor([[tokens]]), remaining=9, special=SPECIAL_TOKENS)
        assert bool(logprobs[0, 0, SPECIAL_TOKENS.end] == 0) is present  # EOS is allowed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "bean"},
            "method=bean .*beam, greedy, diverse_beam, contrastive, sample, mbr; did you mean beam",
        ),
        ({"top_p": 0.9}, "top_p=0.9 .*method=beam; .*method=sample or mbr"),
        (
            {"method": "greedy", "groups": 2},
            "groups=2 .*method=greedy; .*method=diverse_beam",
        ),
        (
            {"required": ["dgo", "unicorn"]},
            "required has 'dgo', 'unicorn', .*vocabulary of 19 tokens",
        ),
        ({"required": ["dogs"]}, "required has 'dogs'.*did you mean dog"),
        ({"prefix": "a zebra"}, "prefix has 'zebra'.* vocabulary"),
        ({"required": ["!"]}, "required has '!'"),
        ({"required": ["red ball"], "banned": ["ball"]}, "'red ball' .*required.*'ball' .*banned"),
        ({"required": ["dog"], "method": "sample"}, "required=dog .*method=beam.*method=sample"),
        (
            {"required": ["dog", "cat"], "max_length": 2},
            "required=2 .*3 tokens.* 2; raise max_length",
        ),
        ({"min_length": 40}, "min_length=40 .*40 tokens.* 30; raise max_length"),
        ({"min_length": 0}, "min_length=0 "),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1 "),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_search(tokenizer=WORDS, **settings)


def test_constraints_on_words_need_a_tokenizer() -> None:
    needing: list[dict[str, Any]] = [
        {"prefix": "a"},
        {"banned": ["a"]},
        {"no_trailing": True},
        {"method": "mbr"},
    ]
    for settings in needing:
        with pytest.raises(UsageError, match="tokenizer="):
            make_search(**settings)
    assert word_constraints(WORDS) == []
    assert required_from_words(WORDS, []) is None


def test_mbr_uses_samples_and_document_frequencies(tmp_path: Path) -> None:
    assert isinstance(make_search(method="sample", seed=3), SampleSearch)
    save_document_frequency(document_frequency([["a dog"], ["a cat"]], "two"), tmp_path / "df.json")
    search = make_search(method="mbr", frequency=str(tmp_path / "df.json"), tokenizer=WORDS)
    assert isinstance(search, MbrSearch)
    assert search.spec()["samples"] == 20
    assert search.spec()["frequency"] == "df.json"
    with pytest.raises(DataError, match="document frequencies"):
        make_search(method="mbr", frequency=str(tmp_path / "none.json"), tokenizer=WORDS)


SETTINGS = {"beam_size": 2, "max_length": 9, "length_penalty": 0.5}


def test_settings_of_a_command_make_the_same_search() -> None:
    settings = {**SETTINGS, "decoding": {"length_norm": "gnmt"}, "constraints": {"required": ["dog"]}}
    expected = make_search(
        2, max_length=9, length_penalty=0.5, length_norm="gnmt", required=["dog"], tokenizer=WORDS
    )
    assert search_from_settings(settings, tokenizer=WORDS).spec() == expected.spec()


@pytest.mark.parametrize(
    ("group", "setting", "message"),
    [
        ("decoding", {"topp": 0.9}, r"decoding.topp; did you mean top_p\?"),
        ("constraints", {"bannd": ["dog"]}, r"constraints.bannd; did you mean banned\?"),
        ("decoding", {"max_length": 5}, "decoding.max_length"),
    ],
)
def test_unknown_settings_of_a_command_are_refused(group: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_from_settings({**SETTINGS, "decoding": {}, "constraints": {}, group: setting}, tokenizer=WORDS)
