"""Tokenizer of captions with word spans.

Word level, or byte-level byte-pair encoding (BPE; Sennrich et al. 2016, Radford et al. 2019).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from captioner.errors import DataError, UsageError, did_you_mean
from captioner.text.normalization import caption_normalizer
from captioner.text.vocabulary import (
    CONTROL_TOKENS,
    SMALLEST_BPE_VOCABULARY,
    read_backend,
    train_bpe,
    train_words,
)

TokenizerKind = Literal["word", "bpe"]

PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(len(CONTROL_TOKENS))

BLANK = "Ġ"  # a space in byte-level BPE
_DEFAULT_BPE_SIZE = 8000


@dataclass(frozen=True, slots=True)
class WordSpan:
    """One word and the tokens it came from.

    Attributes:
        text: The word as shown.
        start: Index in `ids` of the word's first token.
        end: Index in `ids` after the word's last token.
    """

    text: str
    start: int
    end: int


class Tokenizer:
    """Captions to token ids and back, with the normaliser inside.

    Both kinds share the four control tokens at ids 0–3. `encode` never returns PAD, BOS or EOS: the text
    `<eos>` in a caption is the word `eos`.

    Attributes:
        pad_id: 0.
        bos_id: 1.
        eos_id: 2.
        unk_id: 3. Only the word level uses it, for words outside the vocabulary.
        kind: `"word"` or `"bpe"`.
        vocab_size: Number of ids, control tokens included.
    """

    pad_id = PAD_ID
    bos_id = BOS_ID
    eos_id = EOS_ID
    unk_id = UNK_ID

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        ids: dict[str, int] = backend.get_vocab()
        self._tokens: list[str] = sorted(ids, key=ids.__getitem__)
        self.kind: TokenizerKind = "word" if isinstance(backend.model, models.WordLevel) else "bpe"
        self.vocab_size = len(self._tokens)

    @classmethod
    def train(
        cls,
        captions: Iterable[str],
        *,
        kind: TokenizerKind = "word",
        min_count: int = 1,
        vocab_size: int | None = None,
        lowercase: bool = True,
    ) -> Tokenizer:
        """Build the vocabulary from the training captions; it does not depend on their order.

        Args:
            captions: The training captions alone: words of the test captions must stay unknown.
            kind: `"word"`, one token for each word between spaces; or `"bpe"`, byte-level BPE, which has no
                unknown words. Use BPE for scripts without spaces between words.
            min_count: Words (BPE: pairs) with fewer occurrences get no token.
            vocab_size: Most tokens to keep, including the four control tokens. None is no limit at word level
                and 8,000 for BPE, which needs at least 260.
            lowercase: Convert to lower case.

        Raises:
            UsageError: `kind`, `min_count` or `vocab_size` is out of range.
            DataError: No word is left, or a caption contains half of a surrogate pair.
        """
        if kind not in get_args(TokenizerKind):
            raise UsageError(
                f"tokenizer kind {kind!r} is not known; choose one of {', '.join(get_args(TokenizerKind))}"
                f"{did_you_mean(kind, get_args(TokenizerKind))}"
            )
        if min_count < 1:
            raise UsageError(f"min_count is {min_count}; it must be 1 or more (1 keeps every word)")
        smallest = SMALLEST_BPE_VOCABULARY if kind == "bpe" else len(CONTROL_TOKENS) + 1
        if vocab_size is not None and vocab_size < smallest:
            raise UsageError(
                f"vocab_size is {vocab_size}; a {kind} tokenizer needs {smallest} or more, or null"
            )
        normalizer = caption_normalizer(lowercase=lowercase)
        texts = [normalizer.normalize_str(_check_unicode(caption)) for caption in captions]
        if not any(texts):
            raise DataError(f"no word in {len(texts)} training captions; a tokenizer needs at least one")
        if kind == "word":
            return cls(train_words(texts, normalizer=normalizer, min_count=min_count, vocab_size=vocab_size))
        size = vocab_size or _DEFAULT_BPE_SIZE
        return cls(train_bpe(texts, normalizer=normalizer, min_count=min_count, vocab_size=size))

    def normalize(self, text: str) -> str:
        """The normalised caption, equal to `decode(encode(text))` if every word is known."""
        return str(self._backend.normalizer.normalize_str(_check_unicode(text)))

    def encode(self, text: str) -> list[int]:
        """Token ids without BOS and EOS; empty for a caption without words.

        Raises:
            DataError: `text` contains half of a surrogate pair.
        """
        return list(self._backend.encode(_check_unicode(text)).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many captions, in their order."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The words of `words(ids)` separated by spaces. Raises as `words`."""
        return " ".join(word.text for word in self.words(ids))

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """The words of `ids`, each with its half-open span of tokens.

        Decoding stops at EOS; PAD and BOS are skipped. At word level every token is a word, including UNK. For BPE a
        word begins at a token that begins with a space, and includes the tokens up to the next such token: an emoji or
        an accented letter of several byte tokens stays in one word. Bytes that are not UTF-8 become U+FFFD. A model may
        generate other white space, which is removed; a token of white space alone belongs to the following word, or at
        the end to the preceding one.

        Args:
            ids: Token ids, with or without BOS, EOS and padding.

        Returns:
            Spans in order, without overlap, each with a non-empty text without white space.

        Raises:
            UsageError: An id is outside `[0, vocab_size)`.
        """
        kept: list[tuple[int, str]] = []
        for position, token_id in enumerate(ids):
            token = self.id_to_token(int(token_id))
            if token_id == EOS_ID:
                break
            if token_id not in (PAD_ID, BOS_ID):
                kept.append((position, token))
        if self.kind == "word":
            return [WordSpan(token, position, position + 1) for position, token in kept]
        return _merge_pieces(kept)

    def id_to_token(self, token_id: int) -> str:
        """The token as stored (`Ġ` is a space in BPE). Raises `UsageError` outside `[0, vocab_size)`."""
        if not 0 <= token_id < self.vocab_size:
            raise UsageError(
                f"token id {token_id} is outside the vocabulary of {self.vocab_size} tokens; "
                "use the tokenizer that the model was trained with"
            )
        return self._tokens[token_id]

    def unknown_rate(self, captions: Iterable[str]) -> float:
        """Share of the captions' tokens that are UNK, 0–1. Zero for BPE and without tokens."""
        ids = list(itertools.chain.from_iterable(map(self.encode, captions)))
        return ids.count(UNK_ID) / len(ids) if ids else 0.0

    def to_json(self) -> str:
        """The tokenizer as JSON in the format of HF `tokenizers`. Equal tokenizers give equal text."""
        return str(self._backend.to_str())

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            ModelFileError: The text is not a tokenizer, or not one of ours.
        """
        return cls(read_backend(text))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the whole tokenizer."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[Callable[[str], Tokenizer], tuple[str]]:
        # A pickled backend would lose `encode_special_tokens`, which is set on loading.
        return Tokenizer.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint!r})"
        )


def _check_unicode(text: str) -> str:
    """The text, if it is valid Unicode. JSON can contain a lone surrogate, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"caption {text!r} is not valid Unicode: {error}; correct or remove it") from error
    return text


def _merge_pieces(pieces: Sequence[tuple[int, str]]) -> list[WordSpan]:
    """Byte-level tokens with their positions, merged into words by the rule of `Tokenizer.words`."""
    decoder = decoders.ByteLevel()
    words: list[WordSpan] = []
    group: list[tuple[int, str]] = []
    for piece in [*pieces, None]:
        if group and (piece is None or piece[1].startswith(BLANK)):
            text = "".join(decoder.decode([token for _, token in group]).split())
            if text:
                words.append(WordSpan(text, group[0][0], group[-1][0] + 1))
                group = []
            elif piece is None and words:
                words[-1] = WordSpan(words[-1].text, words[-1].start, group[-1][0] + 1)
        if piece is not None:
            group.append(piece)
    return words
