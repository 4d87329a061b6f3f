"""Inspection of captions: empty, long, foreign and repeated ones, and the rate of unknown words by vocabulary size."""

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
"""Vocabulary sizes for which unknown words are counted."""

_MAX_LENGTH = 80  # characters of a caption in a message


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds beyond which captions are reported.

    Attributes:
        max_words: Longer captions are reported.
        photos: A caption of at least this many photos is reported.
        script: The expected script, such as "Latin" or "Cyrillic"; None for that of most letters.
    """

    max_words: int
    photos: int
    script: str | None


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """The rate of unknown words for a vocabulary of the training captions' most frequent words.

    Attributes:
        words: The number of words in the vocabulary.
        min_count: The least number of occurrences of one of them in the training captions.
        rates: Share of a split's words that are unknown, 0–1, by split.
    """

    words: int
    min_count: int
    rates: dict[str, float]


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """The results for all captions.

    Attributes:
        findings: The findings.
        lengths: The number of captions by their number of words.
        script: The expected script.
        unknown: Unknown words by size of the vocabulary, all words last; empty without training split.
    """

    findings: list[Finding]
    lengths: Counter[int]
    script: str
    unknown: list[UnknownWords]


def inspect_captions(datasets: Mapping[str, CaptionDataset], limits: Limits) -> CaptionFacts:
    """Inspect the captions of all splits."""
    normalizer = caption_normalizer(lowercase=True)
    lengths: Counter[int] = Counter()
    counts: dict[str, Counter[str]] = {split: Counter() for split in datasets}
    photos_of: defaultdict[str, list[Subject]] = defaultdict(list)
    scripts: Counter[str] = Counter()
    caption_scripts: list[tuple[Subject, str, str]] = []
    findings: list[Finding] = []
    for subject, captions in _captions(datasets):
        seen: set[str] = set()
        for caption in captions:
            text = normalizer.normalize_str(caption)
            words = text.split(" ") if text else []
            lengths[len(words)] += 1
            counts[subject.split].update(words)
            if not words:
                findings.append(Finding("empty", (subject,), repr(caption[:_MAX_LENGTH])))
                continue
            if len(words) > limits.max_words:
                findings.append(Finding("long", (subject,), f"{len(words)} words: {_shorten(caption)}"))
            if text in seen:
                findings.append(Finding("repeated", (subject,), _shorten(caption)))
            else:
                photos_of[text].append(subject)
            seen.add(text)
            letters = Counter(filter(None, map(_script, text)))
            scripts.update(letters)
            if letters:
                caption_scripts.append(
                    (subject, caption, max(letters, key=lambda name: (letters[name], name)))
                )
    expected = (limits.script or (scripts.most_common(1)[0][0] if scripts else "Latin")).title()
    findings += [
        Finding("script", (subject,), f"{own}: {_shorten(caption)}")
        for subject, caption, own in caption_scripts
        if own != expected
    ]
    common = [(text, subjects) for text, subjects in photos_of.items() if len(subjects) >= limits.photos]
    findings += [
        Finding("common", (), f"{len(subjects):,} photos: {_shorten(text)}")
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
    """The script of a letter, from the first word of its Unicode name; None for other characters."""
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "")
    first = name.partition(" ")[0].title()
    return {"Cjk": "Han", "Hiragana": "Japanese", "Katakana": "Japanese"}.get(first, first) or None


def _shorten(caption: str) -> str:
    text = " ".join(caption.split())
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
