"""Captions and attention maps of every decoder with every search, in batches of several sizes."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from captioner.bundle import Bundle
from captioner.decoding import make_search
from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.pipeline import CaptionPipeline

SPARSE = {"normaliser": "entmax15", "score": "additive", "sentinel": True, "positions": "rotary"}
MODELS: dict[str, list[tuple[type[Any], dict[str, Any]]]] = {
    "transformer": [(TransformerDecoder, {"depth": 2})],
    "sparse transformer": [(TransformerDecoder, {"depth": 1, "num_kv_heads": 1, **SPARSE})],
    "self-attention-first transformer": [
        (TransformerDecoder, {"depth": 2, "self_attention_first": True, "sentinel": True})
    ],
    "soft lstm": [(LstmDecoder, {})],
    "adaptive lstm": [(LstmDecoder, {"sentinel": True})],
    "hard lstm": [(LstmDecoder, {"hard": True})],
    "ensemble": [(LstmDecoder, {"normaliser": "sink"}), (TransformerDecoder, {"depth": 1})],
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"method": "greedy"},
    "beam": {},
    "diverse beam": {"method": "diverse_beam", "beam_size": 4, "groups": 2},
    "contrastive": {"method": "contrastive"},
    "sample": {"method": "sample", "samples": 3, "seed": 3},
    "mbr": {"method": "mbr", "samples": 4},
    "constraints": {"prefix": "two", "required": ["dog"], "banned": ["mat"], "no_repeat_ngram": 1},
}
PHOTOS = [np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in range(4)]


@functools.cache
def pipeline(name: str, base: Bundle) -> CaptionPipeline:
    bundles = []
    for number, (kind, settings) in enumerate(MODELS[name]):
        torch.manual_seed(number)
        decoder = kind(base.tokenizer.vocab_size, 16, num_heads=2, max_length=12, **settings)
        with torch.no_grad():
            for part, parameter in decoder.named_parameters():
                if "norm" not in part:  # with random norms one word would be the most probable everywhere
                    parameter.normal_(std=0.7)
        bundles.append(replace(base, captioner=Captioner(base.captioner.encoder, decoder).eval()))
    return CaptionPipeline(bundles[0], ensemble=bundles[1:])


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("model", MODELS)
def test_captions_do_not_depend_on_the_batch_and_have_maps(
    random_model: Bundle, model: str, search: str
) -> None:
    made, (kind, settings) = pipeline(model, random_model), MODELS[model][0]
    decoding = make_search(
        max_length=7,
        tokenizer=random_model.tokenizer,
        **{"beam_size": 2, "min_length": 4, **SEARCHES[search]},
    )
    alone, pairs, batched = (made.caption(PHOTOS, search=decoding, batch_size=size) for size in (1, 2, 5))
    assert len({caption.text for caption in alone}) > 1  # captions depend on the photo
    layers = settings.get("depth", 1) if kind is TransformerDecoder else 1
    for one, *others in zip(alone, pairs, batched, strict=True):
        for other in others:
            assert (other.text, [o.text for o in other.others]) == (one.text, [o.text for o in one.others])
            assert other.score == pytest.approx(one.score, rel=1e-4)
            # Products of one image and of several take other kernels, and random weights amplify the last digits.
            np.testing.assert_allclose(other.maps, one.maps, atol=1e-4)
        assert one.maps.shape == (len(one.words), layers, 2, 2, 3)
        for word, maps in zip(one.words, one.maps, strict=True):
            assert word.map.shape == (2, 3)
            assert float(word.map.sum()) == pytest.approx(word.visual_mass, abs=1e-5)
            np.testing.assert_allclose(maps.mean(axis=(0, 1)), word.map, atol=1e-6)
            assert 0 <= word.visual_mass <= 1 + 1e-5
        if search == "constraints":
            words = one.text.split()
            assert words[0] == "two"
            assert "dog" in words
            assert "mat" not in words
