"""Searches over a cached decoder, and constraints on the captions they return."""

from __future__ import annotations

from captioner.decoding.banned_words import BannedWords
from captioner.decoding.beam import BeamSearch
from captioner.decoding.constraints import (
    BannedTokens,
    Constraint,
    MinLength,
    NoRepeatedNgrams,
    NoTrailing,
    Prefix,
)
from captioner.decoding.contrastive import ContrastiveSearch
from captioner.decoding.diverse_beam import DiverseBeamSearch
from captioner.decoding.ensemble import EnsembleDecoder, EnsembleSearch, averaged_logprobs
from captioner.decoding.greedy import GreedySearch
from captioner.decoding.hypotheses import Hypotheses, Search, SpecialTokens, StepCache, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.mbr import MbrSearch
from captioner.decoding.required_tokens import RequiredTokens
from captioner.decoding.sampling import SampleSearch
from captioner.decoding.search_factory import make_search, search_from_settings
from captioner.decoding.word_constraints import required_from_words, word_constraints

__all__ = [
    "BannedTokens",
    "BannedWords",
    "BeamSearch",
    "Constraint",
    "ContrastiveSearch",
    "DiverseBeamSearch",
    "EnsembleDecoder",
    "EnsembleSearch",
    "GreedySearch",
    "Hypotheses",
    "LengthNorm",
    "MbrSearch",
    "MinLength",
    "NoRepeatedNgrams",
    "NoTrailing",
    "Prefix",
    "RequiredTokens",
    "SampleSearch",
    "Search",
    "SpecialTokens",
    "StepCache",
    "StepDecoder",
    "averaged_logprobs",
    "make_search",
    "required_from_words",
    "search_from_settings",
    "word_constraints",
]
