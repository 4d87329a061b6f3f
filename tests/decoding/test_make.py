from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.decoding import MbrSearch, SampleSearch, SpecialTokens, make_search
from captioner.decoding.word_constraints import make_required, word_constraints
from captioner.errors import DataError, UsageError
from captioner.metrics.document_frequency import document_frequency, save_document_frequency
from captioner.text.function_words import NEVER_LAST
from captioner.text.tokenizer import Tokenizer
from tests.decoding.conftest import captions, decoder, memory

TEXTS = ["a dog runs with a red ball", "two men sit on a bench", "the dog and the catfish", "a cat"]
WORDS = Tokenizer.train(TEXTS)
PIECES = Tokenizer.train(TEXTS, kind="bpe", vocab_size=290)
NAMES = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))


def texts(tokenizer: Tokenizer, **settings: Any) -> list[str]:
    search = make_search(tokenizer=tokenizer, max_length=14, **settings)
    found = search(decoder(tokenizer.vocab_size - 4, max_length=20), memory(5), NAMES)
    return [tokenizer.decode(caption) for of_image in captions(found) for caption in of_image if caption]


@pytest.mark.parametrize("tokenizer", [WORDS, PIECES])
def test_words_become_rules(tokenizer: Tokenizer) -> None:
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
def test_a_prefix_ends_with_its_last_word(tokenizer: Tokenizer, method: str) -> None:
    for prefix in ("a cat", "two"):
        for text in texts(tokenizer, prefix=prefix, method=method, min_length=8):
            assert text.split()[: len(prefix.split())] == prefix.split()


def test_banned_words_do_not_occur() -> None:
    said = " ".join(texts(WORDS)).split()
    often = max(set(said), key=said.count)
    assert not any(often in text.split() for text in texts(WORDS, banned=[often, "unicorn"]))


def allowed_after(tokens: list[int], rule: Any, *, left: int = 9) -> set[int]:
    logprobs = torch.zeros(1, 1, PIECES.vocab_size)
    rule.forbid(logprobs, torch.tensor([[tokens]], dtype=torch.long), left=left, special=NAMES)
    return {i for i, value in enumerate(logprobs[0, 0].tolist()) if value == 0}


def test_a_longer_word_may_begin_with_a_banned_one() -> None:
    (rule,) = word_constraints(PIECES, banned=["cat", "red ball"])
    for text in ("the catfish", "a red balloon", "catfish cats", "ball red"):
        tokens = PIECES.encode(text)
        for at in range(len(tokens)):
            assert tokens[at] in allowed_after(tokens[:at], rule), text
        assert NAMES.end in allowed_after(tokens, rule)
    for text in ("the cat", "a red ball"):
        after = allowed_after(PIECES.encode(text), rule)
        assert after
        assert not any(PIECES.id_to_token(i).startswith("Ġ") for i in after)
        assert NAMES.end not in after
        # Where only the end fits behind the word, the word itself may not come.
        *begun, last = PIECES.encode(text)
        assert last in allowed_after(begun, rule, left=3)
        assert last not in allowed_after(begun, rule, left=2)


def cuts(word: str) -> list[list[int]]:
    """Every way to put a word together from the pieces."""
    ids = {PIECES.id_to_token(i): i for i in range(PIECES.vocab_size)}
    if not word:
        return [[]]
    heads = (at for at in range(1, len(word) + 1) if word[:at] in ids)
    return [[ids[word[:at]], *rest] for at in heads for rest in cuts(word[at:])]


def test_a_banned_word_is_not_spelled_in_another_way() -> None:
    (rule,) = word_constraints(PIECES, banned=["cat", "Über", "red ball"])
    assert len(cuts("Ġcat")) > 2
    for spelled in ("Ġcat", "".join(map(PIECES.id_to_token, PIECES.encode("Über"))), "ĠredĠball"):
        for tokens in cuts(spelled):
            after = allowed_after([*PIECES.encode("the"), *tokens], rule)
            assert after
            assert NAMES.end not in after
            assert not any(PIECES.id_to_token(i).startswith("Ġ") for i in after)
            assert tokens[-1] not in allowed_after(tokens[:-1], rule, left=2)
            # A prefix may hold it.
            assert NAMES.end in allowed_after([*tokens, *PIECES.encode("dog")], rule)


@pytest.mark.parametrize("method", ["beam", "sample"])
def test_no_caption_holds_a_banned_word(method: str) -> None:
    alphabet = Tokenizer.train(["a b ab"], kind="bpe", vocab_size=265)
    search = make_search(tokenizer=alphabet, method=method, max_length=9, banned=["a", "ab", "b a"])
    others = (i for i in range(3, alphabet.vocab_size) if not set(alphabet.id_to_token(i)) <= set("Ġab"))
    few = SpecialTokens(pad=0, begin=1, end=2, banned=tuple(others))
    found = search(decoder(alphabet.vocab_size - 4, max_length=20), memory(40), few)
    said = [alphabet.decode(caption) for image in captions(found) for caption in image]
    assert len(set(said)) > 5
    for text in said:
        assert not {"a", "ab"} & set(text.split())
        assert " b a " not in f" {text} "


def test_words_of_the_prefix_are_not_banned() -> None:
    _, rule = word_constraints(PIECES, prefix="a cat", banned=["cat", "cat sits"])
    assert NAMES.end in allowed_after(PIECES.encode("a cat"), rule)
    assert NAMES.end not in allowed_after(PIECES.encode("a cat sits"), rule)
    assert NAMES.end not in allowed_after(PIECES.encode("a cat and a cat"), rule)


def test_a_required_word_may_begin_with_a_banned_one() -> None:
    found = texts(PIECES, required=["catfish", "dog"], banned=["cat", "a"])
    assert found
    for text in found:
        assert {"catfish", "dog"} <= set(text.split())
        assert not {"cat", "a"} & set(text.split())
    with pytest.raises(UsageError, match=r"'red cat' .*required.*'cat' .*banned"):
        make_required(PIECES, ["red cat"], banned=["cat"])


def test_a_word_is_not_found_inside_another() -> None:
    required = make_required(PIECES, ["cat"])
    assert required is not None
    cat, catfish = PIECES.encode("cat"), PIECES.encode("catfish")
    assert catfish[: len(cat)] == cat  # or there is nothing to confuse
    for tokens, found in (
        (catfish, False),
        (cat, True),
        ([*catfish, *cat], True),
        ([*cat, *PIECES.encode("dog")], True),
    ):
        logprobs = torch.zeros(1, 1, PIECES.vocab_size)
        required.forbid(logprobs, torch.tensor([[tokens]]), left=9, special=NAMES)
        assert bool(logprobs[0, 0, NAMES.end] == 0) is found  # the caption may end


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "best"},
            "method=best is unknown; choose from beam, greedy, diverse_beam, contrastive, sample, mbr",
        ),
        ({"top_p": 0.9}, "top_p=0.9 does nothing with method=beam; it belongs to sample, mbr"),
        (
            {"method": "greedy", "groups": 2},
            "groups=2 does nothing with method=greedy; it belongs to diverse_beam",
        ),
        (
            {"required": ["dgo", "unicorn"]},
            "required has 'dgo', 'unicorn', which the model's vocabulary of 19 tokens does not hold; take words",
        ),
        ({"required": ["dogs"]}, "required has 'dogs'.*did you mean dog"),
        ({"prefix": "a zebra"}, "prefix has 'zebra', which the model's vocabulary"),
        ({"required": ["!"]}, "required has '!', which holds no word; leave it out"),
        ({"required": ["red ball"], "banned": ["ball"]}, "'red ball' is required and 'ball' is banned"),
        ({"required": ["dog"], "method": "sample"}, "required=dog needs method=beam, which makes room"),
        (
            {"required": ["dog", "cat"], "max_length": 2},
            "required=2 needs captions of 3 tokens.*the longest is 2",
        ),
        ({"min_length": 40}, "min_length=40 needs captions of 40 tokens.*the longest is 30"),
        ({"min_length": 0}, "min_length=0 must be at least 1 token"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1 must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_search(tokenizer=WORDS, **settings)


def test_words_need_a_tokenizer() -> None:
    for settings in ({"prefix": "a"}, {"banned": ["a"]}, {"no_trailing": True}, {"method": "mbr"}):
        with pytest.raises(UsageError, match="need the model's tokenizer"):
            make_search(**settings)
    assert word_constraints(WORDS) == []
    assert make_required(WORDS, []) is None


def test_mbr_chooses_among_samples_and_takes_frequencies(tmp_path: Path) -> None:
    assert isinstance(make_search(method="sample", seed=3), SampleSearch)
    save_document_frequency(document_frequency([["a dog"], ["a cat"]], "two"), tmp_path / "df.json")
    search = make_search(method="mbr", frequency=str(tmp_path / "df.json"), tokenizer=WORDS)
    assert isinstance(search, MbrSearch)
    assert search.spec()["samples"] == 20
    assert search.spec()["frequency"] == "df.json"
    with pytest.raises(DataError, match="document frequencies"):
        make_search(method="mbr", frequency=str(tmp_path / "none.json"), tokenizer=WORDS)
