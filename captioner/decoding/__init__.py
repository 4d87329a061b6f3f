"""How is a caption chosen? Searches over a cached decoder, and rules that captions obey."""

from __future__ import annotations

from captioner.decoding.banned_words import Unspelled
from captioner.decoding.beam import BeamSearch
from captioner.decoding.constraints import Banned, Constraint, MinLength, NoRepeatedNgrams, NoTrailing, Prefix
from captioner.decoding.contrastive import ContrastiveSearch
from captioner.decoding.diverse_beam import DiverseBeamSearch
from captioner.decoding.ensemble import EnsembleDecoder, EnsembleSearch, averaged_logprobs
from captioner.decoding.greedy import GreedySearch
from captioner.decoding.hypotheses import Hypotheses, Search, SpecialTokens, StepCache, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.make import make_search
from captioner.decoding.mbr import MbrSearch
from captioner.decoding.required import Required
from captioner.decoding.sampling import SampleSearch
from captioner.decoding.word_constraints import make_required, word_constraints

__all__ = [
    "Banned",
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
    "Required",
    "SampleSearch",
    "Search",
    "SpecialTokens",
    "StepCache",
    "StepDecoder",
    "Unspelled",
    "averaged_logprobs",
    "make_required",
    "make_search",
    "word_constraints",
]
