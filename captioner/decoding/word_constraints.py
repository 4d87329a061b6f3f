"""How do words that a user types become rules about tokens?"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from captioner.decoding.banned_words import Unspelled
from captioner.decoding.constraints import Banned, Constraint, NoTrailing, Prefix
from captioner.decoding.required import Required
from captioner.errors import UsageError
from captioner.text.function_words import NEVER_LAST
from captioner.text.tokenizer import BLANK, Tokenizer

_SHOWN = 5  # unknown words named in a message


def word_constraints(
    tokenizer: Tokenizer,
    *,
    prefix: str = "",
    banned: Sequence[str] = (),
    no_trailing: bool = False,
    required: Required | None = None,
) -> list[Constraint]:
    """Rules that captions obey, from words.

    Args:
        tokenizer: The model's.
        prefix: How every caption begins.
        banned: Words or phrases that no caption contains after the prefix, whole: "catfish" may be said where "cat"
            may not. Words that the model does not know need no ban.
        no_trailing: No caption ends with a word of `NEVER_LAST`.
        required: What every caption contains, beside these rules.

    Raises:
        UsageError: If the model does not know a word of the prefix.
    """
    rules: list[Constraint] = []
    continuing = _continuing(tokenizer)
    if begin := _known("prefix", prefix, tokenizer):
        rules.append(Prefix(begin, continuing=continuing))
    if sequences := _sequences(banned, tokenizer):
        rules.append(
            _unspelled(tokenizer, sequences, begun=len(begin), kept=required.total if required else 0)
            if tokenizer.kind == "bpe"
            else Banned(sequences)
        )
    if no_trailing and (sequences := _sequences(sorted(NEVER_LAST), tokenizer)):
        rules.append(NoTrailing(sequences))
    return rules


def make_required(
    tokenizer: Tokenizer, words: Sequence[str], *, banned: Sequence[str] = ()
) -> Required | None:
    """What every caption contains, from words or phrases; None for none.

    Args:
        tokenizer: The model's.
        words: The words, in any order.
        banned: Words that may not occur, to refuse what contradicts itself.

    Raises:
        UsageError: If the model does not know one of them, or it is banned.
    """
    if not words:
        return None
    _known("required", " ".join(words), tokenizer)  # all that is unknown in one message
    sequences = [tokenizer.encode(word) for word in words]
    if not all(sequences):
        raise UsageError(f"required has {words[sequences.index([])]!r}, which holds no word; leave it out")
    continuing = _continuing(tokenizer)
    for ban, parts in zip(banned, (tokenizer.encode(ban) for ban in banned), strict=True):
        for word, sequence in zip(words, sequences, strict=True):
            if parts and _holds(sequence, parts, continuing):
                raise UsageError(f"{word!r} is required and {ban!r} is banned; take one of them away")
    return Required(sequences, continuing=continuing)


def _unspelled(
    tokenizer: Tokenizer, sequences: Sequence[Sequence[int]], *, begun: int, kept: int
) -> Unspelled:
    pieces = [tokenizer.id_to_token(token) for token in range(tokenizer.vocab_size)]
    words = ["".join(pieces[token] for token in sequence) for sequence in sequences]
    return Unspelled(words, pieces, begun=begun, kept=kept)


def _continuing(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that continue a word, where words are cut into pieces."""
    if tokenizer.kind != "bpe":
        return frozenset()
    control = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
    pieces = (i for i in range(tokenizer.vocab_size) if i not in control)
    return frozenset(i for i in pieces if not tokenizer.id_to_token(i).startswith(BLANK))


def _holds(sequence: list[int], part: list[int], continuing: frozenset[int]) -> bool:
    """Whether a part stands in a sequence, its last word whole."""
    n = len(part)
    return any(
        sequence[i : i + n] == part and not continuing.intersection(sequence[i + n : i + n + 1])
        for i in range(len(sequence) - n + 1)
    )


def _sequences(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each word that the model knows."""
    encoded = (tokenizer.encode(word) for word in words)
    return [ids for ids in encoded if ids and tokenizer.unk_id not in ids]


def _known(setting: str, text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text.

    Raises:
        UsageError: If the model does not know one of its words, naming what is close.
    """
    ids = tokenizer.encode(text)
    if tokenizer.unk_id not in ids:
        return ids
    unknown = [
        word for word in tokenizer.normalize(text).split() if tokenizer.unk_id in tokenizer.encode(word)
    ]
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.unk_id + 1, tokenizer.vocab_size)]
    close = [match for word in unknown for match in get_close_matches(word, vocabulary, n=2, cutoff=0.75)]
    remedy = (
        f"did you mean {', '.join(close[:_SHOWN])}?"
        if close
        else "take words that occur in its training captions"
    )
    raise UsageError(
        f"{setting} has {', '.join(map(repr, unknown[:_SHOWN]))}, which the model's vocabulary of "
        f"{tokenizer.vocab_size} tokens does not hold; {remedy}"
    )
