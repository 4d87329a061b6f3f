"""Reader of Flickr30k Entities, on an artificial photo in the documented layout; the data set is not available."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioner.data.annotations.flickr30k_entities import Flickr30kEntities
from captioner.errors import DataError

XML = """<annotation>
  <filename>36979.jpg</filename>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <object><name>1</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>110</xmax><ymax>220</ymax></bndbox></object>
  <object><name>1</name><name>2</name>
    <bndbox><xmin>301</xmin><ymin>1</ymin><xmax>500</xmax><ymax>375</ymax></bndbox></object>
  <object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
</annotation>
"""
PHRASES = """[/EN#1/people Two young men] look at [/EN#0/notvisual each other] in [/EN#3/scene a yard] .
[/EN#1/people Guys] hold [/EN#2/other/clothing a red Ball] .
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, name, text in (("Annotations", "36979.xml", XML), ("Sentences", "36979.txt", PHRASES)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    return tmp_path


def test_boxes_have_the_names_and_kind_of_their_phrases(root: Path) -> None:
    photo = Flickr30kEntities(root).photo("36979.jpg")
    assert photo is not None
    assert photo.size == (375, 500)
    assert [(set(thing.names), thing.kind, thing.box) for thing in photo.objects] == [
        # Pixels are numbered from 1, and both ends belong to the box.
        ({"men", "guys"}, "people", (20.0, 10.0, 220.0, 110.0)),
        ({"men", "guys"}, "people", (0.0, 300.0, 375.0, 500.0)),
        ({"ball"}, "other", (0.0, 300.0, 375.0, 500.0)),
    ]
    assert all(thing.rle is None for thing in photo.objects)
    assert photo.mask(photo.objects[:1]).sum() == 200 * 100
    assert Flickr30kEntities(root).photo("other.jpg") is None


def test_boxes_beyond_the_photo_are_counted(root: Path) -> None:
    """One box is clipped; the other, of two chains, lies outside and counts once."""
    xml = XML.replace("<xmax>110</xmax>", "<xmax>900</xmax>").replace("<xmin>301<", "<xmin>600<")
    (root / "Annotations" / "36979.xml").write_text(xml.replace("<xmax>500<", "<xmax>700<"))
    photo = Flickr30kEntities(root).photo("36979.jpg")
    assert photo is not None
    assert [(thing.box, thing.kind) for thing in photo.objects] == [((20, 10, 220, 500), "people")]
    assert (photo.outside, photo.clipped) == (1, 1)
    (root / "Annotations" / "36979.xml").write_text(XML)
    whole = Flickr30kEntities(root).photo("36979.jpg")
    assert whole is not None
    assert (whole.outside, whole.clipped) == (0, 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Annotations/36979.xml", "<annotation>", "36979.xml is not an annotation of Flickr30k Entities"),
        ("Annotations/36979.xml", "<annotation/>", "size/height"),
        ("Annotations/36979.xml", XML.replace("<xmin>11</xmin>", ""), "bndbox/xmin"),
        ("Annotations/36979.xml", XML.replace(">11<", ">x<"), "invalid literal"),
        ("Annotations/36979.xml", XML.replace("500</width>", "0</width>"), "size is 0 x 375"),
        ("Annotations/36979.xml", '<!DOCTYPE a [<!ENTITY b "c">]>' + XML, "XML entities"),
        ("Sentences/36979.txt", None, "36979.txt is missing"),
    ],
)
def test_a_malformed_file_is_named(root: Path, name: str, text: str | None, message: str) -> None:
    if text is None:
        (root / name).unlink()
    else:
        (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        Flickr30kEntities(root).photo("36979.jpg")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Annotations does not exist"):
        Flickr30kEntities(tmp_path)
