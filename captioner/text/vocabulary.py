"""Vocabularies of tokenizers: trained on captions, or loaded from a file and validated."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

# Captions are too short to profit from threads, and `tokenizers` warns if data workers are forked after it used some.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from captioner.errors import DataError, ModelFileError

CONTROL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""Names of the ids 0–3, the same in every vocabulary. Normalised captions cannot contain them."""

SMALLEST_BPE_VOCABULARY = len(CONTROL_TOKENS) + 256
"""Smallest BPE vocabulary, with a token for every byte, so that no text is unknown."""

_UNK = CONTROL_TOKENS[3]


def train_words(
    texts: Sequence[str], *, normalizer: normalizers.Normalizer, min_count: int, vocab_size: int | None
) -> Backend:
    """One token for each word with at least `min_count` occurrences, most frequent first, ties by code point.

    Args:
        texts: Normalised captions.
        normalizer: The normaliser that made them; kept in the result.
        min_count: 1 or more.
        vocab_size: Most tokens to keep, control tokens included; None is no limit.

    Raises:
        DataError: No word appears `min_count` times.
    """
    counts = Counter(itertools.chain.from_iterable(text.split() for text in texts))
    frequent = [word for word, count in counts.items() if count >= min_count]
    if not frequent:
        raise DataError(
            f"no word appears {min_count} times or more in {len(texts)} captions; lower min_count"
        )
    frequent.sort(key=lambda word: (-counts[word], word))
    tokens = [*CONTROL_TOKENS, *frequent][:vocab_size]
    model = models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=_UNK)
    return _assemble(model, normalizer)


def train_bpe(
    texts: Sequence[str], *, normalizer: normalizers.Normalizer, min_count: int, vocab_size: int
) -> Backend:
    """Byte-level BPE: merges frequent pairs until `vocab_size`, or until none appears `min_count` times.

    Args:
        texts: Normalised captions.
        normalizer: The normaliser that made them; kept in the result.
        min_count: 1 or more.
        vocab_size: `SMALLEST_BPE_VOCABULARY` or more.
    """
    trainee = Backend(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trainee.train_from_iterator(texts, trainer)
    # Rebuilt, because the trainer registers the control tokens to be matched in captions.
    return _assemble(_model(json.loads(trainee.to_str())["model"]), normalizer)


def read_backend(text: str) -> Backend:
    """Load a tokenizer that this package wrote; others are refused, since they could give wrong words silently.

    Raises:
        ModelFileError: The text is not a tokenizer, or has parts, ids or tokens that this package does not write.
    """
    remedy = "give the text that Tokenizer.to_json wrote"
    try:
        loaded = Backend.from_str(text)
        ours = _assemble(_model(json.loads(loaded.to_str())["model"]), loaded.normalizer)
    except Exception as error:  # `tokenizers` raises the bare class
        raise ModelFileError(f"this is not a tokenizer of ours: {error}; {remedy}") from error
    problem = _difference(loaded, ours)
    if problem:
        raise ModelFileError(f"this is not a tokenizer of ours: {problem}; {remedy}")
    return ours


def _model(spec: dict[str, Any]) -> models.Model:
    """The model described by the `model` part of a tokenizer's JSON."""
    if spec["type"] == "WordLevel":
        return models.WordLevel(spec["vocab"], unk_token=_UNK)
    if spec["type"] == "BPE":
        return models.BPE(spec["vocab"], [(left, right) for left, right in spec["merges"]])
    raise ModelFileError(f"its model is {spec['type']}, ours are WordLevel and BPE")


def _assemble(model: models.Model, normalizer: normalizers.Normalizer) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizer
    if isinstance(model, models.WordLevel):
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
    # The control tokens are not registered to be matched in captions. If a version of `tokenizers` does so by itself,
    # this keeps "<eos>" in a caption plain text. The flag is not saved, hence set here.
    backend.encode_special_tokens = True
    return backend


def _difference(loaded: Backend, ours: Backend) -> str | None:
    """The difference of a loaded tokenizer from the ones this package writes, or None."""
    if loaded.to_str() != ours.to_str():
        return "its parts around the vocabulary differ"
    vocab: dict[str, int] = ours.get_vocab()
    if sorted(vocab.values()) != list(range(len(vocab))):
        return "its ids do not run from 0 to the vocabulary size"
    if tuple(sorted(vocab, key=vocab.__getitem__)[: len(CONTROL_TOKENS)]) != CONTROL_TOKENS:
        return f"ids 0 to 3 are not {', '.join(CONTROL_TOKENS)}"
    if any(token.split() != [token] for token in vocab):
        return "a token is empty or contains white space"
    if isinstance(ours.model, models.BPE) and not {*pre_tokenizers.ByteLevel.alphabet()} <= vocab.keys():
        return "its vocabulary lacks some of the 256 bytes"
    if any(ours.encode(name).ids[:1] in ([0], [1], [2]) for name in CONTROL_TOKENS):
        return "its normaliser lets a caption spell a control token"
    return None
