from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from captioner.data.scenes import Scenes
from captioner.errors import DataError, UsageError
from captioner.evaluation.judges.clip_score import ClipScore, match_photos
from captioner.evaluation.split import evaluate_split
from captioner.score import score
from tests.conftest import compose

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights that spells words."""
    folder = tmp_path_factory.mktemp("clip")
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(tokens), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53, **small}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=text, vision_config={"image_size": 32, "patch_size": 16, **small}, projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    words = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    CLIPProcessor(images, words).save_pretrained(folder)
    return folder


def test_it_is_a_hundred_times_the_cosine_of_the_embeddings(clip: Path) -> None:
    scorer, found = ClipScore(str(clip)), []
    model, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    for i in range(6):
        pixels, caption = Scenes("test").photo(i).pixels, Scenes("test")[i].captions[0]
        inputs = processor(
            text=[caption], images=[torch.tensor(pixels).permute(2, 0, 1)], return_tensors="pt"
        )
        with torch.no_grad():
            output = model(**inputs)
        cosine = torch.cosine_similarity(output.image_embeds, output.text_embeds).item()
        found.append(scorer(pixels, caption))
        assert found[-1] == pytest.approx(max(0.0, 100 * cosine), abs=1e-3)
    assert len(set(found)) > 1
    assert scorer(pixels, " ") == 0
    assert np.isfinite(scorer(pixels, "dog " * 100))  # longer than CLIP reads


def test_evaluate_and_score_give_the_same(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    few = ("limit=3", "beam_size=1", "max_length=5", "page=0", "novelty=false", "data.image_size=48")
    metrics = ("metrics=[BLEU,CLIPScore]", f"clip={clip}")
    cfg = compose("evaluate", f"model={tiny_model}", *few, *metrics, f"output_dir={tmp_path}/evaluated")
    evaluated = evaluate_split(cfg)
    assert evaluated is not None
    test = Scenes("test", image_size=48)
    with (tmp_path / "references.jsonl").open("w") as file:
        for i in range(3):
            file.write(json.dumps({"image": test[i].id, "caption": test[i].captions[0]}) + "\n")
            (tmp_path / "photos").mkdir(exist_ok=True)
            Image.fromarray(test.photo(i).pixels).save(tmp_path / "photos" / f"{test[i].id}.png")
    given = (f"candidates={tmp_path}/evaluated/captions.jsonl", f"references={tmp_path}/references.jsonl")
    (tmp_path / "evaluated" / "captions.jsonl").write_text(
        (tmp_path / "evaluated" / "captions.jsonl").read_text().replace('", "caption"', '.png", "caption"')
    )
    (tmp_path / "references.jsonl").write_text(
        (tmp_path / "references.jsonl").read_text().replace('", "caption"', '.png", "caption"')
    )
    score(compose("score", *given, *metrics, f"images={tmp_path}/photos", f"output_dir={tmp_path}/scored"))
    scored = json.loads((tmp_path / "scored" / "scores.json").read_text())
    assert scored["corpus"]["CLIPScore"] == pytest.approx(evaluated["CLIPScore"]["CLIPScore"])
    assert scored["signature"].endswith(f"|{evaluated['CLIPScore']['signature']}")
    assert evaluated["CLIPScore"]["signature"].endswith(f"-{clip.name}")


def test_photos_are_found_by_path_name_or_number() -> None:
    photos = [Path("p/COCO_val2014_000000000042.jpg"), Path("p/dog.jpg"), Path("q/dog.jpg")]
    assert match_photos(photos, ["42", "q/dog.jpg"]) == {"42": photos[0], "q/dog.jpg": photos[2]}
    with pytest.raises(DataError, match=r"1 .*images= \(cat\.jpg\)"):
        match_photos(photos, ["42", "cat.jpg"])
    with pytest.raises(DataError, match=r"1 .*several.*\(dog\.jpg\)"):
        match_photos(photos, ["dog.jpg"])


def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="clip=no such/a b "):
        ClipScore("no such/a b")
    with pytest.raises(UsageError, match=r"clip=.*folder of a CLIP model"):
        ClipScore(str(tmp_path))
    # A proxy that is not there: no network.
    monkeypatch.setenv("https_proxy", "http://localhost:9")
    with pytest.raises(UsageError, match=r"localhost.*download"):
        ClipScore("nobody/has-this-model")
    monkeypatch.setattr("captioner.evaluation.judges.clip_score.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"transformers.*captioner\[clip\]"):
        ClipScore(str(tmp_path))


@pytest.mark.parametrize("candidates", ["a.json", "[a.json,b.json]"])
def test_score_asks_for_the_photos_of_one_file(candidates: str, tmp_path: Path) -> None:
    settings = (f"candidates={candidates}", "references=r.json", f"output_dir={tmp_path}")
    with pytest.raises(UsageError, match="images=FOLDER"):
        score(compose("score", *settings, "metrics=[CLIPScore]"))
