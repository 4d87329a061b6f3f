from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError, UsageError
from captioner.text.tokenizer import Tokenizer, WordSpan

CAPTIONS = [
    "A dog runs.",
    "A dog , on grass .",
    "Two dogs run on the beach!",
    "A café on the beach 😀",
    "एक कुत्ता दौड़ता है",
    "كلب يركض",
    "一只 狗",
    "",
]
WORD = Tokenizer.train(CAPTIONS)
BPE = Tokenizer.train(CAPTIONS, kind="bpe", vocab_size=300)
BOTH = pytest.mark.parametrize("tokenizer", [WORD, BPE], ids=["word", "bpe"])
KNOWN_WORDS = [word for caption in CAPTIONS for word in WORD.normalize(caption).split()]


@BOTH
def test_control_ids_are_the_same_for_both_kinds(tokenizer: Tokenizer) -> None:
    ids = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)
    assert ids == (0, 1, 2, 3)
    assert [tokenizer.id_to_token(i) for i in ids] == ["<pad>", "<bos>", "<eos>", "<unk>"]
    assert len({tokenizer.id_to_token(i) for i in range(tokenizer.vocab_size)}) == tokenizer.vocab_size


@given(st.text())
def test_any_text_comes_back_from_bpe(text: str) -> None:
    ids = BPE.encode(text)
    assert BPE.decode(ids) == BPE.normalize(text)
    assert all(4 <= i < BPE.vocab_size for i in ids)


@given(st.lists(st.sampled_from([*KNOWN_WORDS, "A", "DOG", ",", "."])))
def test_known_words_come_back_from_the_word_level(words: list[str]) -> None:
    text = " ".join(words)
    assert WORD.decode(WORD.encode(text)) == WORD.normalize(text)


@given(st.text(), st.sampled_from(["<pad>", "<bos>", "<eos>", "<unk>", "<EOS>"]), st.text())
def test_a_typed_control_token_is_plain_text(before: str, control: str, after: str) -> None:
    for tokenizer in (WORD, BPE, Tokenizer.from_json(BPE.to_json()), pickle.loads(pickle.dumps(WORD))):
        assert not {0, 1, 2} & set(tokenizer.encode(before + control + after))


def test_a_typed_control_token_can_be_learned_as_a_word() -> None:
    tokenizer = Tokenizer.train(["an <eos> sign"])
    assert tokenizer.decode(tokenizer.encode("sign <eos> an")) == "sign eos an"


@BOTH
@given(data=st.data())
def test_words_partition_the_decoded_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """For any ids a model may write: also broken UTF-8, repeated blanks and control tokens in the middle."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    words = tokenizer.words(ids)
    assert " ".join(word.text for word in words) == tokenizer.decode(ids)
    assert tokenizer.decode(ids).split() == [word.text for word in words]
    stop = ids.index(2) if 2 in ids else len(ids)
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= word.start < word.end <= stop for word in words)
    inside = {position for word in words for position in range(word.start, word.end)}
    if words:
        assert inside >= {position for position in range(stop) if ids[position] not in (0, 1)}
    for word in words:
        assert tokenizer.decode(ids[word.start : word.end]) == word.text


@given(st.text())
def test_words_of_an_encoded_caption_are_its_words_without_gaps(text: str) -> None:
    ids = BPE.encode(text)
    words = BPE.words(ids)
    assert [word.text for word in words] == BPE.normalize(text).split()
    assert [0, *(word.end for word in words)] == [*(word.start for word in words), len(ids)]


def test_a_word_of_many_byte_tokens_is_one_word() -> None:
    ids = BPE.encode("hund 🐶 naïve")
    words = BPE.words([1, *ids, 2, 0])
    assert [word.text for word in words] == ["hund", "🐶", "naïve"]
    assert words[1].end - words[1].start >= 4
    assert (words[0].start, words[-1].end) == (1, 1 + len(ids))


def test_lone_blanks_join_a_neighbouring_word() -> None:
    ids = {BPE.id_to_token(i): i for i in range(BPE.vocab_size)}
    blank, newline = ids["Ġ"], ids["Ċ"]
    assert blank is not None
    assert newline is not None
    a = BPE.encode("a")
    words = BPE.words([blank, blank, *a, newline, blank, *a, blank, blank])
    size = len(a)
    assert words == [WordSpan("a", 0, size + 3), WordSpan("a", size + 3, 2 * size + 6)]
    assert BPE.words([blank, newline]) == []


def test_reading_stops_at_eos_and_passes_over_bos_and_pad() -> None:
    a, dog = WORD.encode("a dog")
    assert WORD.decode([1, a, 0, dog, 2, a, a]) == "a dog"
    assert WORD.words([1, a, 0, dog, 2]) == [WordSpan("a", 1, 2), WordSpan("dog", 3, 4)]


@BOTH
def test_a_caption_without_words_is_empty(tokenizer: Tokenizer) -> None:
    for text in ("", " ", ".", "\u2028"):
        assert tokenizer.encode(text) == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.words([1, 2]) == []


@BOTH
@pytest.mark.parametrize("bad", [-1, 10_000])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer: Tokenizer, bad: int) -> None:
    with pytest.raises(
        UsageError, match=rf"token id {bad} is outside the vocabulary of {tokenizer.vocab_size}"
    ):
        tokenizer.decode([4, bad])


@BOTH
def test_batch_equals_one_by_one(tokenizer: Tokenizer) -> None:
    texts = [*CAPTIONS, "unseen wörds <eos>"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@BOTH
def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"'a \\ud83d dog' is not valid Unicode"):
        tokenizer.encode("a \ud83d dog")


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_same_captions_in_any_order_give_the_same_bytes(kind: str) -> None:
    captions = CAPTIONS * 3
    shuffled = random.Random(0).sample(captions, len(captions))
    first, second = (_train(kind, texts) for texts in (captions, shuffled))
    assert first.to_json() == second.to_json()
    assert first.fingerprint == second.fingerprint
    assert _train(kind, ["A cat."]).fingerprint != first.fingerprint


def _train(kind: str, captions: Sequence[str]) -> Tokenizer:
    if kind == "bpe":
        return Tokenizer.train(captions, kind="bpe", vocab_size=290)
    return Tokenizer.train(captions, kind="word")


@BOTH
def test_json_and_pickle_bring_the_tokenizer_back(tokenizer: Tokenizer) -> None:
    text = "A café for <eos> dogs 😀 on größer beach"
    for copy in (Tokenizer.from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.to_json() == tokenizer.to_json()
        assert (copy.kind, copy.vocab_size) == (tokenizer.kind, tokenizer.vocab_size)
        assert copy.encode(text) == tokenizer.encode(text)


def test_rare_words_become_unknown() -> None:
    tokenizer = Tokenizer.train(["a dog", "a dog", "a cat"], min_count=2)
    assert tokenizer.decode(tokenizer.encode("a cat")) == "a <unk>"
    assert tokenizer.unknown_rate(["a cat", "a dog", ""]) == pytest.approx(1 / 4)
    assert tokenizer.unknown_rate([]) == 0
    assert BPE.unknown_rate(["quite unseen"]) == 0


def test_frequent_words_come_first_and_the_size_is_kept() -> None:
    tokenizer = Tokenizer.train(["b a b", "c a b"], vocab_size=6)
    assert [tokenizer.id_to_token(i) for i in range(4, tokenizer.vocab_size)] == ["b", "a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "unigram"}, r"kind 'unigram' is not known; choose one of word, bpe"),
        ({"min_count": 0}, r"min_count is 0; it must be 1 or more"),
        ({"vocab_size": 4}, r"vocab_size is 4; a word tokenizer needs 5 or more"),
        ({"kind": "bpe", "vocab_size": 259}, r"vocab_size is 259; a bpe tokenizer needs 260 or more"),
    ],
)
def test_options_out_of_range_name_the_allowed_ones(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tokenizer.train(["a dog"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("captions", [[], ["", " . "]])
def test_nothing_to_learn_from_is_refused(kind: str, captions: list[str]) -> None:
    with pytest.raises(DataError, match=rf"no word in {len(captions)} training captions"):
        _train(kind, captions)


def test_a_count_no_word_reaches_is_refused() -> None:
    with pytest.raises(DataError, match=r"3 times.*1 captions.*min_count"):
        Tokenizer.train(["a dog a"], min_count=3)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_every_flickr8k_caption_comes_back(real_data: Path, kind: str) -> None:
    lines = (real_data / "flickr8k" / "Flickr8k.token.txt").read_text().splitlines()
    captions = [line.split("\t")[1] for line in lines]
    tokenizer = Tokenizer.train(captions, kind="bpe" if kind == "bpe" else "word")
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(captions)] == [
        tokenizer.normalize(caption) for caption in captions
    ]
