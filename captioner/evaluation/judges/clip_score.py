"""CLIPScore (Hessel et al. 2021) by torchmetrics: similarity of photo and caption, without references.

torchmetrics computes 100 · max(cos, 0) of the CLIP embeddings of photo and caption. The paper's figure is that times
2.5 / 100, of the caption prefixed with "A photo depicts". Values of different CLIP models are not comparable.
"""

from __future__ import annotations

import math
import re
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError
from captioner.evaluation.judges.judge import Case, Finding
from captioner.image.decode import read_photo
from captioner.metrics.report import name_some
from captioner.models.encoders.pretrained import brief, first_hop

_CONTEXT = 77  # tokens of CLIP's text encoder; torchmetrics truncates to it


class ClipScore:
    """CLIPScore of one photo and one caption.

    Args:
        model: A folder with a CLIP model and its processor, or the name of one on the Hugging Face hub.
        device: Device of the computation.

    Attributes:
        signature: Library and model; equal for values that are comparable.

    Raises:
        UsageError: If transformers is not installed, or the model is neither on this machine nor can be fetched.
    """

    def __init__(self, model: str, *, device: str | torch.device = "cpu") -> None:
        if find_spec("transformers") is None:
            raise UsageError(
                "CLIPScore needs transformers, which is not installed: pip install 'captioner[clip]', or leave "
                "CLIPScore out of metrics"
            )
        _refuse_unreachable(model)
        import torchmetrics
        from transformers import CLIPModel, CLIPProcessor
        from transformers.utils import logging

        quieten: Any = logging.disable_progress_bar
        quieten()
        name = Path(model).name if Path(model).is_dir() else model
        self.signature = f"CLIPScore:torchmetrics{torchmetrics.__version__}-{name}"
        try:
            clip: Any = CLIPModel.from_pretrained(model)
            self._model = clip.to(device).eval()
            # torchmetrics expects tensors; transformers 5 returns them within an output object.
            for embed in ("get_image_features", "get_text_features"):
                setattr(self._model, embed, partial(_tensor, getattr(self._model, embed)))
            self._processor = CLIPProcessor.from_pretrained(model)
        except Exception as error:  # a damaged file can raise any exception of its reader
            raise UsageError(
                f"clip={model} cannot be loaded: {brief(error)}; give the folder of a CLIP model and its processor"
            ) from error

    @torch.no_grad()
    def __call__(self, pixels: NDArray[np.uint8], caption: str) -> float:
        """The score, 0–100.

        Args:
            pixels: uint8 `[H, W, 3]`, the upright photo.
            caption: The caption's text. An empty one scores 0.
        """
        from torchmetrics.functional.multimodal import clip_score

        if not caption.strip():
            return 0.0
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)  # [H, W, 3] -> [3, H, W]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".*{_CONTEXT}.*")
            score = clip_score(image.to(self._model.device), caption, lambda: (self._model, self._processor))
        return float(score)


class ClipJudge:
    """CLIPScore of each caption.

    Args:
        score: The scorer.
    """

    name = "CLIPScore"

    def __init__(self, score: ClipScore) -> None:
        self._score = score

    def judge(self, case: Case) -> Finding:
        """The caption's score on its photo."""
        return Finding({"CLIPScore": self._score(case.photo.pixels, case.caption.text)})

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """The mean, and the signature of its CLIP model."""
        values = [float(finding.figures["CLIPScore"]) for finding in findings]
        return {"CLIPScore": math.fsum(values) / max(1, len(values)), "signature": self._score.signature}

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """The signature, which comparable values share."""
        return [str(summary["signature"])]


def score_files(
    score: ClipScore, captions: Mapping[str, str], photos: Mapping[str, Path]
) -> dict[str, float]:
    """CLIPScore of each image.

    Args:
        score: The scorer.
        captions: Texts by image id.
        photos: The files, by image id.

    Raises:
        ImageError: If a photo cannot be read.
    """
    return {image: score(read_photo(photos[image]).pixels, caption) for image, caption in captions.items()}


def match_photos(photos: Sequence[Path], images: Sequence[str]) -> dict[str, Path]:
    """The photo of each image: by its path, its name, or the number at the end of its name.

    `COCO_val2014_000000000042.jpg` is the photo of image 42.

    Raises:
        DataError: If an image has no photo, or several.
    """
    by_name: dict[str, set[Path]] = {}
    for path in photos:
        number = re.search(r"(\d+)$", path.stem)
        for name in (str(path), path.name, str(int(number[1])) if number else path.name):
            by_name.setdefault(name, set()).add(path)
    found = {image: by_name.get(image) or by_name.get(Path(image).name, set()) for image in images}
    for wrong, what in (
        ([image for image in images if not found[image]], "have no photo"),
        ([image for image in images if len(found[image]) > 1], "have several photos"),
    ):
        if wrong:
            raise DataError(
                f"{len(wrong)} of the captioned images {what} among images= ({name_some(wrong)}): CLIPScore needs "
                "photos named as the captions' images are."
            )
    return {image: min(paths) for image, paths in found.items()}


def _tensor(embed: Callable[..., Any], *inputs: Any, **named: Any) -> torch.Tensor:
    found = embed(*inputs, **named)
    tensor: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
    return tensor


def _refuse_unreachable(model: str) -> None:
    """Raise within a second what transformers would report after many retries."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(model).is_dir():
        return
    try:
        for file in ("model.safetensors", "pytorch_model.bin"):
            if isinstance(try_to_load_from_cache(model, file), str):
                return
    except HFValidationError as error:
        raise UsageError(f"clip={model} is neither a folder nor the name of a model on the hub") from error
    hub = first_hop()
    try:
        socket.create_connection(hub, timeout=1).close()
    except OSError as error:
        raise UsageError(
            f"the CLIP model {model} is not on this machine and {hub[0]} cannot be reached: download it elsewhere and "
            "give its folder in clip=FOLDER, or leave CLIPScore out of metrics"
        ) from error
