"""Which search is meant? From names, numbers and words, as they stand in `conf/` and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.decoding.beam import BeamSearch
from captioner.decoding.constraints import Constraint, MinLength, NoRepeatedNgrams
from captioner.decoding.contrastive import ContrastiveSearch
from captioner.decoding.diverse_beam import DiverseBeamSearch
from captioner.decoding.greedy import GreedySearch
from captioner.decoding.hypotheses import Search
from captioner.decoding.mbr import EQUAL_WEIGHTS, MbrSearch
from captioner.decoding.required import Required
from captioner.decoding.sampling import SampleSearch
from captioner.decoding.word_constraints import make_required, word_constraints
from captioner.errors import UsageError
from captioner.metrics.document_frequency import load_document_frequency
from captioner.text.tokenizer import Tokenizer

_SAMPLING = ("samples", "temperature", "top_k", "top_p", "min_p", "seed")
METHODS: dict[str, tuple[str, ...]] = {
    "beam": (),
    "greedy": (),
    "diverse_beam": ("groups", "diversity"),
    "contrastive": ("candidates", "alpha"),
    "sample": _SAMPLING,
    "mbr": (*_SAMPLING, "frequency"),
}
"""The settings that belong to each method alone."""


def make_search(
    beam_size: int = 3,
    *,
    max_length: int = 30,
    length_penalty: float = 0.7,
    length_norm: str = "power",
    method: str = "beam",
    groups: int | None = None,
    diversity: float | None = None,
    candidates: int | None = None,
    alpha: float | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int | None = None,
    frequency: str | None = None,
    prefix: str = "",
    required: Sequence[str] = (),
    banned: Sequence[str] = (),
    min_length: int = 1,
    no_repeat_ngram: int = 0,
    no_trailing: bool = False,
    tokenizer: Tokenizer | None = None,
) -> Search:
    """The search of a name.

    Args:
        beam_size: Captions kept at each step, of `beam` and `diverse_beam`; beam search with 1 is greedy decoding.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: score = log P / length ** length_penalty.
        length_norm: How captions of different lengths compare: a kind of `LengthNorm`.
        method: One of `METHODS`.
        groups: See `DiverseBeamSearch`.
        diversity: See `DiverseBeamSearch`.
        candidates: See `ContrastiveSearch`.
        alpha: See `ContrastiveSearch`.
        samples: Captions drawn for each image: 1, or 20 for `mbr`, which chooses among them.
        temperature: See `SampleSearch`.
        top_k: See `SampleSearch`.
        top_p: See `SampleSearch`.
        min_p: See `SampleSearch`.
        seed: See `SampleSearch`.
        frequency: A file of document frequencies for the CIDEr of `mbr`.
        prefix: How every caption begins.
        required: Words or phrases that every caption contains; beam search only.
        banned: Words or phrases that no caption contains.
        min_length: Shortest caption in tokens, EOS included.
        no_repeat_ngram: No so many tokens in a row occur twice; 0 allows it.
        no_trailing: No caption ends with a function word such as "a" or "with".
        tokenizer: The model's; words and `mbr` need it.

    Raises:
        UsageError: If a name is not known, a value is out of range, a setting belongs to another method, the model does
            not know a word, or no caption of `max_length` can obey.
        DataError: If the file of document frequencies cannot be read.
    """
    if method not in METHODS:
        raise UsageError(f"method={method} is unknown; choose from {', '.join(METHODS)}")
    own: dict[str, Any] = {
        "groups": groups,
        "diversity": diversity,
        "candidates": candidates,
        "alpha": alpha,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "seed": seed,
        "frequency": frequency,
    }
    given = {name: value for name, value in own.items() if value is not None}
    for name, value in given.items():
        if name not in METHODS[method]:
            those = ", ".join(other for other, names in METHODS.items() if name in names)
            raise UsageError(f"{name}={value} does nothing with method={method}; it belongs to {those}")
    banned, required = _listed(banned), _listed(required)
    if required and method != "beam":
        raise UsageError(
            f"required={', '.join(required)} needs method=beam, which makes room for words; method={method} does not"
        )
    needed: Required | None = None
    rules: list[Constraint] = []
    if tokenizer is not None:
        needed = make_required(tokenizer, required, banned=banned)
        rules += word_constraints(
            tokenizer, prefix=prefix, banned=banned, no_trailing=no_trailing, required=needed
        )
    elif prefix or required or banned or no_trailing or method == "mbr":
        raise UsageError(
            "words and method=mbr need the model's tokenizer; give tokenizer=pipeline.model.tokenizer"
        )
    if min_length != 1:
        rules.append(MinLength(min_length))
    if no_repeat_ngram != 0:
        rules.append(NoRepeatedNgrams(no_repeat_ngram))
    common: dict[str, Any] = {
        "max_length": max_length,
        "length_penalty": length_penalty,
        "length_norm": length_norm,
        "constraints": rules,
    }
    match method:
        case "beam" if beam_size != 1 or needed:
            return BeamSearch(beam_size, required=needed, **common)
        case "beam" | "greedy":
            return GreedySearch(**common)
        case "diverse_beam":
            return DiverseBeamSearch(beam_size, **given, **common)
        case "contrastive":
            return ContrastiveSearch(**given, **common)
        case "sample":
            return SampleSearch(**given, **common)
        case _:
            assert tokenizer is not None
            weights = given.pop("frequency", None)
            return MbrSearch(
                SampleSearch(**{"samples": 20, **given}, **common),
                tokenizer.decode,
                frequency=load_document_frequency(Path(weights)) if weights else EQUAL_WEIGHTS,
            )


def _listed(words: Sequence[str]) -> list[str]:
    """Words as a list; one text may name several, with commas between them."""
    parts = words.split(",") if isinstance(words, str) else map(str, words)
    return [part.strip() for part in parts]
