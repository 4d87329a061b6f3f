"""Construction of a search from plain settings, as in `conf/` and on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.build import as_list
from captioner.decoding.beam import BeamSearch
from captioner.decoding.constraints import Constraint, MinLength, NoRepeatedNgrams
from captioner.decoding.contrastive import ContrastiveSearch
from captioner.decoding.diverse_beam import DiverseBeamSearch
from captioner.decoding.greedy import GreedySearch
from captioner.decoding.hypotheses import Search
from captioner.decoding.mbr import EQUAL_WEIGHTS, MbrSearch
from captioner.decoding.required_tokens import RequiredTokens
from captioner.decoding.sampling import SampleSearch
from captioner.decoding.word_constraints import required_from_words, word_constraints
from captioner.errors import UsageError, did_you_mean
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
"""The settings of each method that are not common to all."""


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
    """The search of a method with its settings and constraints.

    Args:
        beam_size: Captions kept at each step, for `beam` and `diverse_beam`; beam search with 1 is greedy search.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: score = log P / length ** length_penalty.
        length_norm: Length normalisation: a kind of `LengthNorm`.
        method: One of `METHODS`.
        groups: See `DiverseBeamSearch`.
        diversity: See `DiverseBeamSearch`.
        candidates: See `ContrastiveSearch`.
        alpha: See `ContrastiveSearch`.
        samples: Captions sampled for each image; by default 1, or 20 candidates for `mbr`.
        temperature: See `SampleSearch`.
        top_k: See `SampleSearch`.
        top_p: See `SampleSearch`.
        min_p: See `SampleSearch`.
        seed: See `SampleSearch`.
        frequency: A file of document frequencies for the CIDEr-D of `mbr`.
        prefix: Beginning of every caption.
        required: Words or phrases that every caption contains; beam search only.
        banned: Words or phrases that no caption contains.
        min_length: Shortest caption in tokens, EOS included.
        no_repeat_ngram: Length of n-grams, in tokens, that may not repeat; 0 allows all.
        no_trailing: Whether no caption ends with a function word such as "a" or "with".
        tokenizer: The model's; required by `mbr` and by constraints on words.

    Raises:
        UsageError: If a name is unknown, a value is out of range, a setting belongs to another method, a word is not in
            the model's vocabulary, or no caption of `max_length` tokens can meet the constraints.
        DataError: If the file of document frequencies cannot be read.
    """
    if method not in METHODS:
        raise UsageError(
            f"method={method} is unknown; choose from {', '.join(METHODS)}{did_you_mean(method, METHODS)}"
        )
    optional: dict[str, Any] = {
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
    given = {name: value for name, value in optional.items() if value is not None}
    for name, value in given.items():
        if name not in METHODS[method]:
            methods = " or ".join(other for other, names in METHODS.items() if name in names)
            raise UsageError(
                f"{name}={value} has no effect with method={method}; leave it out or choose method={methods}"
            )
    banned, required = as_list(banned), as_list(required)
    if required and method != "beam":
        raise UsageError(
            f"required={', '.join(required)} is supported by method=beam only, not by method={method}"
        )
    required_tokens: RequiredTokens | None = None
    constraints: list[Constraint] = []
    if tokenizer is not None:
        required_tokens = required_from_words(tokenizer, required, banned=banned)
        constraints += word_constraints(
            tokenizer, prefix=prefix, banned=banned, no_trailing=no_trailing, required=required_tokens
        )
    elif prefix or required or banned or no_trailing or method == "mbr":
        raise UsageError(
            "constraints on words and method=mbr need the model's tokenizer; pass tokenizer=pipeline.model.tokenizer"
        )
    if min_length != 1:
        constraints.append(MinLength(min_length))
    if no_repeat_ngram != 0:
        constraints.append(NoRepeatedNgrams(no_repeat_ngram))
    common: dict[str, Any] = {
        "max_length": max_length,
        "length_penalty": length_penalty,
        "length_norm": length_norm,
        "constraints": constraints,
    }
    match method:
        case "beam" if beam_size != 1 or required_tokens:
            return BeamSearch(beam_size, required=required_tokens, **common)
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
            frequency = given.pop("frequency", None)
            return MbrSearch(
                SampleSearch(**{"samples": 20, **given}, **common),
                tokenizer.decode,
                frequency=load_document_frequency(Path(frequency)) if frequency else EQUAL_WEIGHTS,
            )


def search_from_settings(settings: Mapping[str, Any], *, tokenizer: Tokenizer) -> Search:
    """The search of a command's settings.

    Args:
        settings: `beam_size`, `max_length`, `length_penalty` and the groups `decoding` and `constraints` of arguments
            of `make_search`.
        tokenizer: The model's.

    Raises:
        UsageError: If a group has an unknown setting, or as `make_search`.
        DataError: As `make_search`.
    """
    common = {name: settings[name] for name in ("beam_size", "max_length", "length_penalty")}
    known = inspect.signature(make_search).parameters.keys() - {*common, "tokenizer"}
    for group in ("decoding", "constraints"):
        for name in settings[group]:
            if name not in known:
                raise UsageError(f"unknown setting {group}.{name}{did_you_mean(name, known)}")
    return make_search(**common, **settings["decoding"], **settings["constraints"], tokenizer=tokenizer)
