from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.readers.flickr8k import Flickr8k
from captioner.errors import DataError, ImageError, UsageError

NAMES = ["b.jpg", "a.jpg", "c.jpg", "d.jpg"]
TOKENS = "".join(f"{name}#{k}\tcaption {k} of {name[0]} .\n" for name in sorted(NAMES) for k in range(2))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The authors' layout: four photos, two to train on, one each for the rest."""
    text, photos = tmp_path / "Flickr8k_text", tmp_path / "Flicker8k_Dataset"
    text.mkdir()
    photos.mkdir()
    for row, name in enumerate(NAMES):
        Image.new("RGB", (6, 4 + row), (200, 10, 10)).save(photos / name)
    (text / "Flickr8k.token.txt").write_text(TOKENS)
    (text / "Flickr_8k.trainImages.txt").write_text("b.jpg\na.jpg\n")
    (text / "Flickr_8k.devImages.txt").write_text("c.jpg\n")
    (text / "Flickr_8k.testImages.txt").write_text("d.jpg\n")
    return tmp_path


def write_csv(root: Path, rows: str) -> None:
    (root / "Flickr8k_text" / "Flickr8k.token.txt").unlink()
    (root / "captions.txt").write_text("image,caption\n" + rows, newline="")


def test_a_split_has_its_photos_in_the_order_of_its_list(root: Path) -> None:
    train = Flickr8k(root, "train")
    assert [train[i].id for i in range(len(train))] == ["b.jpg", "a.jpg"]
    assert train[0].captions == ("caption 0 of b .", "caption 1 of b .")
    assert train[0].path == root / "Flicker8k_Dataset" / "b.jpg"
    assert train.photo(1).size == (5, 6)
    assert [Flickr8k(root, split)[0].id for split in ("val", "dev", "test")] == ["c.jpg", "c.jpg", "d.jpg"]
    assert train.report.summary() == "2 images, 4 captions"
    assert pickle.loads(pickle.dumps(train))[1] == train[1]


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_is_refused(root: Path, index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside the 2 images"):
        Flickr8k(root, "train")[index]


def test_the_csv_gives_the_same_captions(root: Path) -> None:
    expected = [Flickr8k(root, "train")[i] for i in range(2)]
    rows = [line.replace("\t", ",").split("#") for line in TOKENS.splitlines()]
    write_csv(root, "".join(f"{name},{rest.split(',')[1]}\n" for name, rest in rows))
    assert [Flickr8k(root, "train")[i] for i in range(2)] == expected


def test_a_csv_caption_may_contain_commas_quotes_and_line_ends(root: Path) -> None:
    write_csv(root, 'a.jpg,"red , ""blue"" ,\r\ngreen"\r\nb.jpg,plain\r\n')
    train = Flickr8k(root, "train")
    assert [train[i].captions for i in range(2)] == [("plain",), ('red , "blue" ,\r\ngreen',)]


def test_unusual_line_ends_do_not_shift_captions(root: Path) -> None:
    tokens = "\ufeffa.jpg#0\tone\u2028two\x0b\x0c\x85three\r\n\r\nb.jpg#0\tfour\n"
    (root / "Flickr8k_text" / "Flickr8k.token.txt").write_text(tokens, encoding="utf-8", newline="")
    names = root / "Flickr8k_text" / "Flickr_8k.trainImages.txt"
    names.write_text("\ufeffa.jpg\r\nb.jpg", encoding="utf-8")
    train = Flickr8k(root, "train")
    assert [train[i].captions for i in range(2)] == [("one\u2028two\x0b\x0c\x85three",), ("four",)]


def test_missing_photos_and_captions_are_counted(root: Path) -> None:
    text = root / "Flickr8k_text"
    with (text / "Flickr8k.token.txt").open("a") as file:
        file.write("a.jpg.1#0\tphoto does not exist\na.jpg#2\t \nlost.jpg#0\tlisted\nlost.jpg#1\tlisted\n")
    (text / "Flickr_8k.trainImages.txt").write_text("a.jpg\nlost.jpg\nbare.jpg\na.jpg\n")
    Image.new("RGB", (5, 5)).save(root / "Flicker8k_Dataset" / "bare.jpg")
    train = Flickr8k(root, "train")
    assert [train[i].id for i in range(len(train))] == ["a.jpg"]
    assert train.report == ReadingReport(
        images=1,
        captions=2,
        missing_images=2,
        dropped_captions=3,
        empty_captions=1,
        uncaptioned_images=1,
    )
    assert train.report.summary() == (
        "1 image, 2 captions (left out: 2 images not in the folder, 3 captions without image, "
        "1 empty caption, 1 image without caption)"
    )


def test_an_unreadable_photo_is_named_when_it_is_requested(root: Path) -> None:
    (root / "Flicker8k_Dataset" / "b.jpg").write_text("<html>")
    with pytest.raises(ImageError, match=r"b\.jpg"):
        Flickr8k(root, "train").photo(0)


def test_files_of_other_names_can_be_given(root: Path) -> None:
    (root / "my").mkdir()
    (root / "Flickr8k_text" / "Flickr8k.token.txt").rename(root / "my" / "captions.tsv")
    (root / "Flicker8k_Dataset").rename(root / "my" / "jpg")
    (root / "my" / "list.txt").write_text("d.jpg")
    data = Flickr8k(root, "val", captions="my/captions.tsv", images="my/jpg", split_file="my/list.txt")
    assert [data[i].id for i in range(len(data))] == ["d.jpg"]


def test_a_hash_splits_photos_without_lists(root: Path) -> None:
    photos = root / "Flicker8k_Dataset"
    names = [f"{i}.jpg" for i in range(300)]
    for name in names:
        (photos / name).touch()
    write_csv(root, "".join(f"{name},a dog\n" for name in names))
    shares = [Flickr8k(root, split, split_by="hash") for split in ("train", "val", "test")]
    ids = [[part[i].id for i in range(len(part))] for part in shares]
    assert sorted(ids[0] + ids[1] + ids[2]) == sorted(names)
    assert [210 < len(ids[0]) < 270, 15 < len(ids[1]) < 50, 15 < len(ids[2]) < 50] == [True] * 3
    # Golden: a photo that moved would bring an old model's training photos into its test.
    assert ids[2][:4] == ["5.jpg", "11.jpg", "13.jpg", "16.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev2"}, r"no split 'dev2'; choose one of train, val, test"),
        ({"split_by": "name"}, r"split_by='name' is not known; choose lists, hash or content"),
        ({"split_by": "hash", "split_file": "x.txt"}, r"split_by=hash takes no split_file=x\.txt"),
    ],
)
def test_unknown_choices_are_refused(root: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Flickr8k(root, **{"split": "train", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (".", r"root of Flickr8k: .+ does not exist"),
        ("Flicker8k_Dataset", r"images of Flickr8k not found; .+/images, .+/Flickr8k_Dataset; name it by"),
        ("Flickr8k_text/Flickr8k.token.txt", r"captions of Flickr8k not found; .+/captions\.txt, .+name it"),
        ("Flickr8k_text/Flickr_8k.trainImages.txt", r"trainImages\.txt; .+split_by=hash"),
    ],
)
def test_missing_files_are_named(root: Path, missing: str, message: str) -> None:
    (root / missing).rename((root / missing).with_name(f"{root.name}-gone"))
    with pytest.raises(DataError, match=message):
        Flickr8k(root, "train")


def test_no_photo_of_the_split_is_an_error_that_names_both(root: Path) -> None:
    names = root / "Flickr8k_text" / "Flickr_8k.trainImages.txt"
    names.write_text("x.jpg\ny.jpg\n")
    message = r"Flicker8k_Dataset holds none of the 2 photos of .+trainImages\.txt \(such as x\.jpg\)"
    with pytest.raises(DataError, match=message):
        Flickr8k(root, "train")
    names.write_text("\n")
    with pytest.raises(DataError, match=r"0 photos.+trainImages\.txt.*images"):
        Flickr8k(root, "train")


def test_no_caption_for_the_split_is_an_error(root: Path) -> None:
    (root / "Flickr8k_text" / "Flickr8k.token.txt").write_text("d.jpg#0\ta dog\n")
    message = r"token\.txt has no caption for any of the 2 photos of .+trainImages\.txt"
    with pytest.raises(DataError, match=message):
        Flickr8k(root, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg#0\tfine\na.jpg no\n", r"token\.txt:2: expected name\.jpg#0<TAB>caption, found 'a\.jpg no'"),
        (b"a.jpg\tno number\n", r"token\.txt:1: expected"),
        (b"#0\tno name\n", r"token\.txt:1: expected"),
        (b"\n../b.jpg#0\tup\n", r"token\.txt:2: photo '\.\./b\.jpg' lies outside the photo folder"),
        (b"/etc/b.jpg#0\troot\n", r"token\.txt:1: photo '/etc/b\.jpg' lies outside"),
        (b"x\\..\\..\\b.jpg#0\tup\n", r"token\.txt:1: photo .+ lies outside"),
        (b"C:\\b.jpg#0\tdrive\n", r"token\.txt:1: photo .+ lies outside"),
        (b"a\0.jpg#0\tzero\n", r"token\.txt:1: 'a\\x00\.jpg' cannot be the file name"),
        (b"a.jpg#0\tcaf\xe9\n", r"token\.txt is not UTF-8: byte 0xe9 at offset 11; save the file as UTF-8"),
        (b"\xef\xbb\xbfa.jpg#0\tcaf\xe9\n", r"token\.txt is not UTF-8: byte 0xe9 at offset 14"),
        (b"image,caption\na.jpg,one,two\n", r"token\.txt:2: 3 columns, and 2 in the header; put"),
        (
            b'image,caption\na.jpg,fine\nb.jpg,"open\n',
            r"token\.txt:3: malformed table: unexpected end of data",
        ),
        (b"image,caption\n../a.jpg,up\n", r"token\.txt:2: photo '\.\./a\.jpg' lies outside"),
    ],
)
def test_a_malformed_caption_file_is_refused_with_its_line(root: Path, content: bytes, message: str) -> None:
    (root / "Flickr8k_text" / "Flickr8k.token.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Flickr8k(root, "train")


def test_a_list_may_not_lead_outside(root: Path) -> None:
    (root / "Flickr8k_text" / "Flickr_8k.trainImages.txt").write_text("a.jpg\n../a.jpg\n")
    message = r"trainImages\.txt:2: photo '\.\./a\.jpg' lies outside the photo folder"
    with pytest.raises(DataError, match=message):
        Flickr8k(root, "train")


@pytest.mark.real
def test_the_real_train_and_dev_splits(real_data: Path) -> None:
    train, dev = (Flickr8k(real_data / "flickr8k", split) for split in ("train", "dev"))
    assert (len(train), train.report.captions, len(dev), dev.report.captions) == (6000, 30000, 1000, 5000)
    # The five captions of 2258277193_586949ec62.jpg.1, which does not exist.
    assert (train.report.missing_images, train.report.dropped_captions) == (1, 5)
    assert not {train[i].id for i in range(6000)} & {dev[i].id for i in range(1000)}
    assert dev.photo(0).pixels.shape == (224, 224, 3)
