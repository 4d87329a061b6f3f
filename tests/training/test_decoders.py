"""Training, model file, search, maps and overlays with every decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.bundle import load
from captioner.data.scenes.dataset import Scenes
from captioner.errors import UsageError
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.pipeline import CaptionPipeline
from captioner.training.fit import fit
from tests.conftest import TINY, compose

SHARED = tuple(setting for setting in TINY if not setting.startswith("model.decoder.depth"))


def trained(folder: Path, *overrides: str) -> CaptionPipeline:
    result = fit(compose("train", *SHARED, "trainer.max_epochs=1", f"output_dir={folder}", *overrides))
    assert result is not None
    return CaptionPipeline(load(result.model_file))


@pytest.mark.parametrize(
    ("overrides", "has_sentinel"),
    [
        (
            (
                "decoder=lstm",
                "model.decoder.sentinel=true",
                "model.decoder.normaliser=entmax15",
                "objective.doubly_stochastic=1",
                "objective.attention_supervision=1",
                "objective.z_loss=1e-4",
            ),
            True,
        ),
        (("decoder=lstm", "model.decoder.hard=true"), False),
        (
            (
                "model.decoder.depth=2",
                "model.decoder.sentinel=true",
                "model.decoder.num_kv_heads=1",
                "model.decoder.score=additive",
                "model.decoder.positions=rotary",
                "model.image_positions=sinusoidal",
                "model.image_depth=2",
                "model.image_heads=2",
                "model.image_window=2",
                "objective.attention_supervision=1",
            ),
            True,
        ),
    ],
    ids=["adaptive lstm", "hard lstm", "transformer of many parts"],
)
def test_a_trained_model_captions_with_maps(
    tmp_path: Path, overrides: tuple[str, ...], has_sentinel: bool
) -> None:
    pipeline = trained(tmp_path, *overrides, "samples=1")
    decoder = pipeline.model.captioner.decoder
    assert isinstance(decoder, LstmDecoder if "decoder=lstm" in overrides else TransformerDecoder)
    assert list((tmp_path / "samples").glob("epoch-001-*.png"))
    photos = [Scenes("val", size=4, image_size=32).photo(i) for i in range(3)]
    for beam_size in (1, 3):
        captions = pipeline.caption(photos, beam_size=beam_size, max_length=8)
        alone = pipeline.caption(photos[1], beam_size=beam_size, max_length=8)[0]
        assert alone.text == captions[1].text
        for caption in captions:
            layers = 2 if isinstance(decoder, TransformerDecoder) else 1
            assert caption.maps.shape[1:3] == (layers, 2)
            for word in caption.words:
                assert float(word.map.sum()) == pytest.approx(word.visual_mass, abs=1e-5)
                assert (
                    word.visual_mass < 1 if has_sentinel else word.visual_mass == pytest.approx(1, abs=1e-5)
                )
            if "model.decoder.hard=true" in overrides:
                assert set(np.unique(caption.maps)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "settings",
    [
        ("model.decoder.sentinel=false",),
        ("decoder=lstm", "model.decoder.normaliser=entmax15"),
        ("decoder=lstm", "model.decoder.sentinel=true", "model.decoder.hard=true"),
    ],
    ids=["transformer", "sparse lstm", "hard lstm"],
)
def test_the_penalty_is_refused_where_attention_has_no_alternative(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    with pytest.raises(
        UsageError,
        match=r"objective\.image_attention_penalty=0\.1 .*model\.decoder\.sentinel=true",
    ):
        trained(tmp_path, "objective.image_attention_penalty=0.1", *settings)


@pytest.mark.parametrize(
    "settings",
    [("model.decoder.sentinel=true",), ("decoder=lstm", "model.decoder.normaliser=sink")],
    ids=["sentinel", "sink"],
)
def test_the_image_attention_penalty_is_a_term_of_the_loss(tmp_path: Path, settings: tuple[str, ...]) -> None:
    trained(
        tmp_path,
        "objective.image_attention_penalty=0.1",
        "samples=0",
        "+trainer.log_every_n_steps=1",
        *settings,
    )
    assert "train/image_attention_penalty" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_supervision_with_augmentation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"objective\.attention_supervision .*image\.augment=null"):
        trained(tmp_path, "objective.attention_supervision=1", "image.augment={flip: 0.5}")


def test_default_options_do_not_change_the_random_stream() -> None:
    """The initial weights depend on the seed only: options at their defaults draw no random numbers."""
    torch.manual_seed(3)
    plain = TransformerDecoder(7, 8, depth=1, num_heads=2)
    after = torch.rand(1)
    torch.manual_seed(3)
    explicit = TransformerDecoder(
        7, 8, depth=1, num_heads=2, score="scaled_dot", normaliser="softmax", positions="learned", fused=None
    )
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), explicit.parameters(), strict=True))
