"""Results of captioning one photo: with words and maps, or the text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from captioner.caption import Alternative, Caption
from captioner.captioning.caption_text import other_captions
from captioner.decoding import Hypotheses
from captioner.errors import ImageError
from captioner.image.decode import Photo
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class CaptionResult:
    """The caption of one photo with its words and maps, or why the photo cannot be read.

    Attributes:
        index: The number the photo was given.
        photo: The decoded photo, or None.
        caption: The caption, or None.
        error: Why there is no caption, or None.
    """

    index: int
    photo: Photo | None
    caption: Caption | None
    error: ImageError | None


@dataclass(frozen=True, slots=True, eq=False)
class CaptionRecord:
    """The caption of one photo without words and maps, or why the photo cannot be read.

    Attributes:
        index: The number the photo was given.
        text: The caption, or None.
        score: The score by which the search chose it (nats, after length normalisation).
        logprob: Its log-probability (nats).
        others: The other captions that the search considered, best first, with their scores.
        error: Why there is no caption, or None.
    """

    index: int
    text: str | None
    score: float
    logprob: float
    others: tuple[Alternative, ...]
    error: ImageError | None


def caption_records(
    hypotheses: Hypotheses, numbers: Sequence[int], tokenizer: Tokenizer
) -> list[CaptionRecord]:
    """The records of a batch, from what a search found.

    Args:
        hypotheses: Of the `B` images.
        numbers: The number of each image.
        tokenizer: The model's.
    """
    rows = zip(
        numbers,
        hypotheses.tokens.tolist(),
        hypotheses.scores.tolist(),
        hypotheses.token_logprobs[:, 0].sum(dim=-1).tolist(),
        strict=True,
    )
    records = []
    for number, tokens, scores, logprob in rows:
        text = tokenizer.decode(tokens[0])
        others = other_captions(text, tokens[1:], scores[1:], tokenizer)
        records.append(CaptionRecord(number, text, scores[0], logprob, others, None))
    return records
