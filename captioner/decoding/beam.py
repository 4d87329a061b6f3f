"""Which caption is most probable? Batched beam search over a cached decoder.

Finished captions leave the beam and are kept in a pool, so that they are frozen and never crowd out live ones. An
image is done when no live beam can still beat the worst caption in its pool, so stopping early loses nothing.

Sources: Graves 2012 and Sutskever et al. 2014 (beam search); Wu et al. 2016 (pruning against finished hypotheses).

Axis letters: `B` images, `K` beams, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_settings
from captioner.errors import CaptionerError, UsageError

NEG_INF = float("-inf")


class BeamSearch:
    """Beam search with length normalisation: score = log P(caption) / length ** length_penalty.

    With as many beams as there are unfinished prefixes it is exhaustive search. Every caption ends: at `max_length`
    only EOS is possible, and its log-probability counts. PAD, BOS and UNK are never emitted.

    Args:
        beam_size: `K`. One beam still weighs every place to end; `GreedySearch` ends at the first likely one.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length (EOS included); 0 ranks by log-probability alone.

    Raises:
        UsageError: If a value is out of range.
    """

    def __init__(self, beam_size: int = 3, *, max_length: int = 30, length_penalty: float = 0.7) -> None:
        if not isinstance(beam_size, int):
            raise UsageError(f"beam_size={beam_size!r} must be a whole number")
        if beam_size < 1:
            raise UsageError(f"beam_size={beam_size} must be at least 1")
        check_settings(max_length=max_length, length_penalty=length_penalty)
        self.beam_size = beam_size
        self.max_length = max_length
        self.length_penalty = length_penalty

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        return {
            "search": "beam",
            "beam_size": self.beam_size,
            "max_length": self.max_length,
            "length_penalty": self.length_penalty,
        }

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
        """
        B, K = memory.shape[0], self.beam_size
        T = min(self.max_length, decoder.max_length)
        device = memory.device
        cache = decoder.init_cache(memory, num_beams=K, max_length=T)
        tokens = torch.full((B, K), special.begin, device=device)
        # Only the first beam is live at the start, or all would be equal.
        live_score = torch.full((B, K), NEG_INF, device=device)
        live_score[:, 0] = 0.0
        live_tokens = torch.full((B, K, T), special.pad, device=device)
        live_logprobs = torch.zeros((B, K, T), device=device)
        pool = Hypotheses(live_tokens.clone(), torch.full_like(live_score, NEG_INF), live_logprobs.clone())
        banned = torch.tensor(
            sorted({special.pad, special.begin, *special.banned} - {special.end}), device=device
        )

        for t in range(T):
            logits, cache = decoder.step(tokens, cache)
            logprobs = logits.float().log_softmax(dim=-1)  # [B, K, V]
            if torch.isnan(logprobs).any():
                raise CaptionerError(f"the decoder gave NaN at step {t + 1}; the model's weights are damaged")
            logprobs[:, :, banned] = NEG_INF
            total = live_score[:, :, None] + logprobs

            # Captions that end here join the pool.
            ended = live_tokens.clone()
            ended[:, :, t] = special.end
            ended_logprobs = live_logprobs.clone()
            ended_logprobs[:, :, t] = logprobs[:, :, special.end]
            pool = _best(
                pool,
                Hypotheses(ended, total[:, :, special.end] / (t + 1) ** self.length_penalty, ended_logprobs),
            )
            # The best a live caption can reach is its log-probability over the longest length.
            hope = live_score.amax(dim=1) / T**self.length_penalty
            if t + 1 == T or bool((pool.scores[:, -1] >= hope).all()):
                break

            # The others go on, the K best of each image.
            total[:, :, special.end] = NEG_INF
            V = total.shape[-1]
            live_score, flat = total.flatten(1).topk(K, dim=1)
            rows, tokens = flat // V, flat % V
            live_tokens = _gather(live_tokens, rows)
            live_tokens[:, :, t] = tokens
            live_logprobs = _gather(live_logprobs, rows)
            live_logprobs[:, :, t] = logprobs.flatten(1).gather(1, flat)
            cache.select(rows)

        return pool


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    # [B, K, T] by rows [B, K'] -> [B, K', T]
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2]))


def _best(a: Hypotheses, b: Hypotheses) -> Hypotheses:
    """The K best of both, best first; on a tie the one found earlier stays."""
    K = a.scores.shape[1]
    scores = torch.cat([a.scores, b.scores], dim=1)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :K]
    tokens = _gather(torch.cat([a.tokens, b.tokens], dim=1), order)
    logprobs = _gather(torch.cat([a.token_logprobs, b.token_logprobs], dim=1), order)
    return Hypotheses(tokens, scores.gather(1, order), logprobs)
