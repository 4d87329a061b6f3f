"""Scripts that prepare data, with small archives and a local server; the readers open the results."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import io
import json
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from captioner.data.prepare.download import Remote
from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.flickr8k import Flickr8k
from captioner.data.readers.karpathy import Karpathy

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photo() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4)).save(stream, "JPEG")
    return stream.getvalue()


def pack(path: Path, files: Mapping[str, bytes | str]) -> tuple[int, str, str]:
    """A zip file; its size, SHA-256 and MD5."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *arguments: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def coco_json(*names: str) -> str:
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    captions = [{"id": n, "image_id": n, "caption": "A dog."} for n in range(len(names))]
    return json.dumps({"images": images, "annotations": captions})


def karpathy_json(*entries: tuple[str, str, str]) -> str:
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": "A dog."}]}
        | ({"filepath": path} if path else {})
        for name, path, split in entries
    ]
    return json.dumps({"images": images})


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    status: int = module.main()
    return status


def test_coco_can_be_read_afterwards(
    mirror: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, url = mirror
    module, files = script("prepare_coco"), {}
    archives: dict[str, dict[str, bytes | str]] = {
        "train2014": {"train2014/a.jpg": photo()},
        "val2014": {"val2014/b.jpg": photo(), "val2014/": ""},
        "annotations_trainval2014": {
            "annotations/captions_train2014.json": coco_json("a.jpg"),
            "annotations/captions_val2014.json": coco_json("b.jpg"),
            "annotations/person_keypoints_val2014.json": "{}",
        },
        "caption_datasets": {
            "dataset_coco.json": karpathy_json(
                ("a.jpg", "train2014", "train"), ("b.jpg", "val2014", "restval")
            ),
            "dataset_flickr8k.json": "{}",
        },
    }
    for name, content in archives.items():
        files[name] = pack(folder / f"{name}.zip", content)[:2]
    monkeypatch.setattr(module, "FILES", files)
    root = tmp_path / "coco"
    arguments = (str(root), "--year", "2014", "--karpathy", "--mirror", url)
    for new in (1, 0):  # the second run finds everything complete
        assert run(module, monkeypatch, *arguments) == 0
        output = capsys.readouterr().out
        assert "The captions are under CC BY 4.0" in output
        assert f"train2014.zip: complete, {new} new files" in output
        assert f"next    python -m captioner.doctor data=karpathy data.root={root}" in output
    assert [len(CocoCaptions(root, split)) for split in ("train", "val")] == [1, 1]
    assert len(Karpathy(root, "train")) == 2
    assert not (root / "annotations" / "person_keypoints_val2014.json").exists()
    (root / "train2014.zip").write_bytes(b"damaged")
    with pytest.raises(SystemExit) as leaving:
        run(module, monkeypatch, *arguments)
    assert leaving.value.code == 2
    assert "train2014.zip has 7 bytes instead of" in capsys.readouterr().err


def test_flickr8k_can_be_read_afterwards(
    mirror: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, url = mirror
    module = script("prepare_flickr")
    photos = {"Flicker8k_Dataset/a.jpg": photo(), "__MACOSX/Flicker8k_Dataset/._a.jpg": b"x"}
    texts = {
        "Flickr8k.token.txt": "a.jpg#0\tA dog.\n",
        "Flickr_8k.trainImages.txt": "a.jpg\n",
        "readme.txt": "...",
    }
    files = {}
    archives: dict[str, Mapping[str, bytes | str]] = {
        "Flickr8k_Dataset.zip": photos,
        "Flickr8k_text.zip": texts,
    }
    for name, content in archives.items():
        _, _, md5 = pack(folder / name, content)
        files[name] = Remote("https://nowhere.invalid", name, md5=md5)
    monkeypatch.setattr(module, "FILES", files)
    root = tmp_path / "flickr8k"
    assert run(module, monkeypatch, "flickr8k", str(root), "--mirror", url) == 0
    assert "non-commercial research and education" in " ".join(capsys.readouterr().out.split())
    assert Flickr8k(root, "train")[0].captions == ("A dog.",)


def test_flickr30k_takes_the_photos_of_an_archive(
    mirror: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, url = mirror
    module = script("prepare_flickr")
    name = "caption_datasets.zip"
    content = {"dataset_flickr30k.json": karpathy_json(("1.jpg", "", "test")), "dataset_coco.json": "{}"}
    size, sha256, _ = pack(folder / name, content)
    monkeypatch.setattr(module, "FILES", {name: Remote("https://nowhere.invalid", name, size, sha256)})
    root, archive = tmp_path / "flickr30k", tmp_path / "flickr30k-images.tar.gz"
    assert run(module, monkeypatch, "flickr30k", str(root), "--mirror", url) == 0
    assert "the photos are missing" in capsys.readouterr().out
    with tarfile.open(archive, "w:gz") as file:
        for member, data in (("flickr30k-images/1.jpg", photo()), ("flickr30k-images/readme.txt", b"")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    assert run(module, monkeypatch, "flickr30k", str(root), "--mirror", url, "--photos", str(archive)) == 0
    assert Karpathy(root, "test").photo(0).size == (4, 6)
    with pytest.raises(SystemExit):
        run(module, monkeypatch, "flickr30k", str(root), "--photos", str(tmp_path / "no.tar"))
    assert "no.tar is not a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["prepare_coco", "prepare_flickr"])
def test_an_unreachable_server_is_reported_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--mirror", "http://no-such-host.invalid", "--tries", "1"]
    with pytest.raises(SystemExit) as leaving:
        run(script(name), monkeypatch, *(["flickr8k"] if "flickr" in name else []), *arguments)
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot reach no-such-host.invalid")
    assert error.count("\n") == 1
