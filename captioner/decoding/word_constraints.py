"""Constraints on tokens from the words that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from captioner.decoding.banned_words import BannedWords
from captioner.decoding.constraints import BannedTokens, Constraint, NoTrailing, Prefix
from captioner.decoding.required_tokens import RequiredTokens
from captioner.errors import UsageError
from captioner.text.function_words import NEVER_LAST
from captioner.text.tokenizer import BLANK, Tokenizer

_MAX_LISTED = 5  # unknown words in a message


def word_constraints(
    tokenizer: Tokenizer,
    *,
    prefix: str = "",
    banned: Sequence[str] = (),
    no_trailing: bool = False,
    required: RequiredTokens | None = None,
) -> list[Constraint]:
    """The constraints for words and phrases.

    Args:
        tokenizer: The model's.
        prefix: Beginning of every caption.
        banned: Words or phrases that no caption contains after the prefix, as whole words: "catfish" is allowed where
            "cat" is banned. Words outside the model's vocabulary are ignored.
        no_trailing: Whether no caption ends with a word of `NEVER_LAST`.
        required: The required tokens that apply beside these constraints.

    Raises:
        UsageError: If a word of the prefix is not in the model's vocabulary.
    """
    constraints: list[Constraint] = []
    if prefix_tokens := _encode_known("prefix", prefix, tokenizer):
        constraints.append(Prefix(prefix_tokens, continuing=_continuing_tokens(tokenizer)))
    if sequences := _encode_all(banned, tokenizer):
        constraints.append(
            _banned_words(
                tokenizer,
                sequences,
                prefix_length=len(prefix_tokens),
                reserved=required.num_tokens if required else 0,
            )
            if tokenizer.kind == "bpe"
            else BannedTokens(sequences)
        )
    if no_trailing and (sequences := _encode_all(sorted(NEVER_LAST), tokenizer)):
        constraints.append(NoTrailing(sequences))
    return constraints


def required_from_words(
    tokenizer: Tokenizer, words: Sequence[str], *, banned: Sequence[str] = ()
) -> RequiredTokens | None:
    """The tokens of required words or phrases; None if there are none.

    Args:
        tokenizer: The model's.
        words: The words, in any order.
        banned: Banned words, to refuse contradictions.

    Raises:
        UsageError: If a required word is not in the model's vocabulary, or is banned.
    """
    if not words:
        return None
    _encode_known("required", " ".join(words), tokenizer)  # for one message with all unknown words
    sequences = [tokenizer.encode(word) for word in words]
    if not all(sequences):
        raise UsageError(f"required has {words[sequences.index([])]!r}, which contains no word; leave it out")
    continuing = _continuing_tokens(tokenizer)
    for ban, part in zip(banned, (tokenizer.encode(ban) for ban in banned), strict=True):
        for word, sequence in zip(words, sequences, strict=True):
            if part and _contains(sequence, part, continuing):
                raise UsageError(f"{word!r} is required and {ban!r} is banned; remove one of them")
    return RequiredTokens(sequences, continuing=continuing)


def _banned_words(
    tokenizer: Tokenizer, sequences: Sequence[Sequence[int]], *, prefix_length: int, reserved: int
) -> BannedWords:
    pieces = [tokenizer.id_to_token(token) for token in range(tokenizer.vocab_size)]
    words = ["".join(pieces[token] for token in sequence) for sequence in sequences]
    return BannedWords(words, pieces, prefix_length=prefix_length, reserved=reserved)


def _continuing_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that continue a word; none for tokenizers of whole words."""
    if tokenizer.kind != "bpe":
        return frozenset()
    control = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
    pieces = (i for i in range(tokenizer.vocab_size) if i not in control)
    return frozenset(i for i in pieces if not tokenizer.id_to_token(i).startswith(BLANK))


def _contains(sequence: list[int], part: list[int], continuing: frozenset[int]) -> bool:
    """Whether `part` occurs in `sequence` as whole words."""
    n = len(part)
    return any(
        sequence[i : i + n] == part and not continuing.intersection(sequence[i + n : i + n + 1])
        for i in range(len(sequence) - n + 1)
    )


def _encode_all(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each word that is in the model's vocabulary."""
    encoded = (tokenizer.encode(word) for word in words)
    return [ids for ids in encoded if ids and tokenizer.unk_id not in ids]


def _encode_known(setting: str, text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text.

    Raises:
        UsageError: If a word is not in the model's vocabulary, naming the nearest ones.
    """
    ids = tokenizer.encode(text)
    if tokenizer.unk_id not in ids:
        return ids
    unknown = [
        word for word in tokenizer.normalize(text).split() if tokenizer.unk_id in tokenizer.encode(word)
    ]
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.unk_id + 1, tokenizer.vocab_size)]
    near = [match for word in unknown for match in get_close_matches(word, vocabulary, n=2, cutoff=0.75)]
    remedy = (
        f"did you mean {', '.join(near[:_MAX_LISTED])}?"
        if near
        else "use words that occur in its training captions"
    )
    raise UsageError(
        f"{setting} has {', '.join(map(repr, unknown[:_MAX_LISTED]))}, not in the model's vocabulary of "
        f"{tokenizer.vocab_size} tokens; {remedy}"
    )
