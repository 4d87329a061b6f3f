from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import captioner
from captioner.bundle import Bundle, save
from captioner.caption import Caption
from captioner.captioning.records import CaptionResult
from captioner.decoding import make_search
from captioner.errors import ImageError, ModelFileError, UsageError
from captioner.image.decode import Photo, read_photo
from captioner.pipeline import CaptionPipeline, load

SEARCH = make_search(2, max_length=9)


def picture(seed: int, size: tuple[int, int] = (40, 60)) -> NDArray[np.uint8]:
    """Coarse coloured blocks, so that photos differ after resizing."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(size[::-1], Image.Resampling.NEAREST))


@pytest.fixture(scope="module")
def pipeline(random_model: Bundle) -> CaptionPipeline:
    return CaptionPipeline(random_model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven files, of which 3.png is not a photo."""
    for number in range(7):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("not a photo")
    return tmp_path


def texts(captions: list[Caption]) -> list[str]:
    return [caption.text for caption in captions]


def equal(a: Caption, b: Caption) -> bool:
    return (
        a.text == b.text
        and bool(np.isclose(a.logprob, b.logprob, atol=1e-4))
        and np.allclose(a.maps, b.maps, atol=1e-4)  # float32 sums round differently from batch to batch
        and a.geometry == b.geometry
    )


def test_captions_come_in_the_order_of_the_photos(pipeline: CaptionPipeline) -> None:
    pictures = [picture(seed) for seed in range(9)]
    captions = pipeline.caption(pictures, max_length=9, batch_size=4)
    assert len(set(texts(captions))) > 4  # or order would not show
    order = [4, 8, 0, 2, 7, 1, 3, 6, 5]
    again = pipeline.caption([pictures[i] for i in order], max_length=9, batch_size=4)
    assert all(equal(captions[i], caption) for i, caption in zip(order, again, strict=True))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_captions_do_not_depend_on_the_batch_size(pipeline: CaptionPipeline, beam_size: int) -> None:
    pictures = [picture(seed) for seed in range(7)]
    runs = [
        pipeline.caption(pictures, beam_size=beam_size, max_length=9, batch_size=batch_size)
        for batch_size in (1, 2, 7, 50)
    ]
    for run in runs[1:]:
        assert all(equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_every_way_to_give_a_photo_gives_the_same_caption(pipeline: CaptionPipeline, tmp_path: Path) -> None:
    pixels = picture(1)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    sources: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(pixels),
        pixels,
        read_photo(path),
    ]
    captions = pipeline.caption(sources)
    assert all(equal(captions[0], caption) for caption in captions)
    for source in sources:  # one alone, not in a list
        (caption,) = pipeline.caption(source)
        assert equal(captions[0], caption)


def test_no_photos_give_no_captions(pipeline: CaptionPipeline) -> None:
    assert pipeline.caption([]) == []
    assert list(pipeline.stream(iter(()), search=SEARCH)) == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 8])
def test_an_unreadable_photo_is_a_result_in_its_place(
    pipeline: CaptionPipeline, folder: Path, batch_size: int
) -> None:
    paths = [folder / f"{number}.png" for number in range(7)]
    results = list(pipeline.stream(paths, search=SEARCH, batch_size=batch_size))
    assert [result.index for result in results] == list(range(7))
    bad = results.pop(3)
    assert bad.caption is None
    assert bad.photo is None
    assert isinstance(bad.error, ImageError)
    assert str(folder / "3.png") in str(bad.error)
    alone = pipeline.caption([paths[result.index] for result in results], beam_size=2, max_length=9)
    for result, expected in zip(results, alone, strict=True):
        assert result.error is None
        assert result.caption is not None
        assert equal(result.caption, expected)
        assert result.photo is not None
        assert (result.photo.pixels == picture(result.index)).all()


def test_a_stream_of_unreadable_photos_gives_their_errors(pipeline: CaptionPipeline) -> None:
    results = list(pipeline.stream([b"", b"GIF89a", "/nowhere.jpg"], search=SEARCH, batch_size=2))
    assert [result.index for result in results] == [0, 1, 2]
    assert all(isinstance(result.error, ImageError) and result.caption is None for result in results)


def test_caption_raises_for_an_unreadable_photo(pipeline: CaptionPipeline, folder: Path) -> None:
    with pytest.raises(ImageError, match=f"{folder / '3.png'} is "):
        pipeline.caption([folder / "1.png", folder / "3.png"])
    with pytest.raises(ImageError, match=r"there is no photo /nowhere\.jpg"):
        pipeline.caption("/nowhere.jpg")


def test_results_come_while_photos_are_still_being_given(pipeline: CaptionPipeline) -> None:
    given: list[int] = []

    def photos() -> Iterator[NDArray[np.uint8]]:
        for number in itertools.count():  # endless: reading ahead would never end
            given.append(number)
            yield picture(number)

    results: Iterator[CaptionResult] = pipeline.stream(photos(), search=SEARCH, batch_size=2)
    assert [next(results).index for _ in range(3)] == [0, 1, 2]
    assert len(given) == 4


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(40, 60), (200, 30), (30, 200), (1, 1), (3, 500)])
def test_what_holds_for_every_caption(random_model: Bundle, fit: Any, size: tuple[int, int]) -> None:
    model = dataclasses.replace(random_model, transform=dataclasses.replace(random_model.transform, fit=fit))
    captions = CaptionPipeline(model).caption([picture(seed, size) for seed in range(4)], max_length=9)
    for caption in captions:
        assert [word.text for word in caption.words] == caption.text.split()
        assert caption.maps.shape == (len(caption.words), 2, 2, 2, 3)
        assert caption.geometry.size == size
        for word in caption.words:
            assert word.map.shape == (2, 3)
            np.testing.assert_allclose(word.map.sum(), word.visual_mass, atol=1e-5)
            drawn = caption.geometry.to_original(word.map)
            assert drawn.shape == size
            assert np.isfinite(drawn).all()


def test_the_log_probability_is_that_of_all_words_and_the_end(pipeline: CaptionPipeline) -> None:
    model = pipeline.model
    for caption, pixels in zip(
        pipeline.caption([picture(seed) for seed in range(5)], max_length=9),
        (picture(seed) for seed in range(5)),
        strict=True,
    ):
        ids = model.tokenizer.encode(caption.text)
        tokens = torch.tensor([[[model.tokenizer.bos_id, *ids]]])
        image, _ = model.transform(read_photo(pixels))
        with torch.no_grad():
            logprobs = model.captioner(image[None], tokens).logits[0, 0].log_softmax(-1)
        steps = [float(logprobs[k, token]) for k, token in enumerate([*ids, model.tokenizer.eos_id])]
        np.testing.assert_allclose([word.logprob for word in caption.words], steps[:-1], atol=1e-4)
        np.testing.assert_allclose(caption.logprob, sum(steps), atol=1e-4)
        np.testing.assert_allclose(caption.score, sum(steps) / len(steps) ** 0.7, atol=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_captioned_upright(
    pipeline: CaptionPipeline, tmp_path: Path, orientation: int
) -> None:
    upright = picture(5, (30, 70))
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(turns[orientation])).save(path, exif=exif)
    (found,) = pipeline.caption(path)
    (expected,) = pipeline.caption(upright)
    assert found.text == expected.text
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-5)
    assert found.geometry.size == (30, 70)
    assert found.geometry.orientation == orientation


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, "many"])
def test_a_batch_size_below_1_is_refused(pipeline: CaptionPipeline, batch_size: Any) -> None:
    with pytest.raises(UsageError, match=f"batch_size={batch_size}"):
        pipeline.caption([picture(0)], batch_size=batch_size)


def test_load_gives_a_pipeline_of_the_saved_model(random_model: Bundle, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", random_model)
    loaded = captioner.load(tmp_path / "model.safetensors", device="cpu")
    assert loaded.card == random_model.card
    (caption,) = loaded.caption(picture(0))
    (expected,) = CaptionPipeline(random_model).caption(picture(0))
    assert equal(caption, expected)
    with pytest.raises(ModelFileError, match="no model file at /nowhere"):
        captioner.load("/nowhere")
    with pytest.raises(UsageError, match="device=gpu"):
        load(tmp_path / "model.safetensors", device="gpu")


def test_encoded_bytes_are_captioned(pipeline: CaptionPipeline) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(2)).save(buffer, "PNG")
    (caption,) = pipeline.caption(buffer.getvalue())
    (expected,) = pipeline.caption(picture(2))
    assert equal(caption, expected)
    photo = Photo(picture(2), (40, 60), 1, None)
    assert equal(pipeline.caption(photo)[0], expected)


def test_explanation_methods_are_chosen_by_name(pipeline: CaptionPipeline) -> None:
    (plain,) = pipeline.caption(picture(1), max_length=9)
    (caption,) = pipeline.caption(picture(1), max_length=9, explain=["attention", "occlusion"])
    assert equal(plain, caption)
    assert list(plain.explanations) == ["attention"]
    assert list(caption.explanations) == ["attention", "occlusion"]
    np.testing.assert_allclose(
        caption.map(0, method="occlusion"), caption.explanations["occlusion"].values[0]
    )
    for result in pipeline.stream(
        [picture(1)] * 3, search=SEARCH, batch_size=2, explain="occlusion:2x2,rollout"
    ):
        assert result.caption is not None
        assert list(result.caption.explanations) == ["occlusion:2x2", "rollout"]
        assert result.caption.words[0].map.shape == (2, 2)


def test_an_unsupported_method_is_refused_before_a_photo_is_read(pipeline: CaptionPipeline) -> None:
    def refuse() -> NDArray[np.uint8]:
        raise AssertionError

    choices: tuple[str | list[str], ...] = ("gradcam", "attention:layer5", "attention:best", [])
    for explain in choices:
        with pytest.raises(UsageError, match="explain"):
            pipeline.stream((refuse() for _ in range(1)), search=SEARCH, explain=explain)


def test_the_best_head_is_the_one_on_the_card(random_model: Bundle) -> None:
    model = dataclasses.replace(random_model, card={"best_head": {"layer": 2, "head": 1}})
    (caption,) = CaptionPipeline(model).caption(picture(3), max_length=9, explain="attention:best")
    for k, word in enumerate(caption.words):
        np.testing.assert_allclose(word.map, caption.maps[k, 1, 0], atol=1e-6)


def test_a_given_caption_is_explained(pipeline: CaptionPipeline, folder: Path) -> None:
    caption = pipeline.explain(
        picture(2), "Two dogs sit, on the mat!".replace("dogs", "cats"), explain="grad_cam"
    )
    assert caption.text == "two cats sit on the mat"
    assert list(caption.explanations) == ["grad_cam"]
    assert caption.geometry.size == (40, 60)
    assert caption.score == pytest.approx(caption.logprob)
    with pytest.raises(UsageError, match="does not know 'dogs'"):
        pipeline.explain(picture(2), "two dogs")
    with pytest.raises(ImageError, match=r"3\.png is"):
        pipeline.explain(folder / "3.png", "two cats")
