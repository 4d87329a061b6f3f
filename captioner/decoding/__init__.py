"""How is a caption chosen? Greedy and beam search over a cached decoder."""

from __future__ import annotations

from captioner.decoding.beam import BeamSearch
from captioner.decoding.greedy import GreedySearch
from captioner.decoding.hypotheses import Hypotheses, Search, SpecialTokens, StepDecoder

__all__ = [
    "BeamSearch",
    "GreedySearch",
    "Hypotheses",
    "Search",
    "SpecialTokens",
    "StepDecoder",
    "make_search",
]


def make_search(beam_size: int = 3, *, max_length: int = 30, length_penalty: float = 0.7) -> Search:
    """The search for a beam size: greedy for 1, beam search above. Arguments as in `BeamSearch`."""
    if beam_size == 1:
        return GreedySearch(max_length=max_length, length_penalty=length_penalty)
    return BeamSearch(beam_size, max_length=max_length, length_penalty=length_penalty)
