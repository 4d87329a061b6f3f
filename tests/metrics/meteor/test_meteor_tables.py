from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from captioner.errors import DataError
from captioner.metrics.meteor.meteor_tables import MeteorTables, Paraphrases, Synonyms

PAIRS = [
    ("a", "one"),
    ("a couple", "two"),
    ("a couple of", "a few"),
    ("a couple of", "two"),
    ("a lot", "many"),
    ("b", "c"),
    ("in front of", "before"),
]


def table() -> bytes:
    return "".join(f"0.5\n{phrase}\n{other}\n" for phrase, other in PAIRS).encode()


def test_every_phrase_is_found_with_all_its_paraphrases() -> None:
    paraphrases = Paraphrases(table())
    found = paraphrases.of(["b", "a", "couple", "of", "x", "in", "front", "of"])
    assert found == [
        (0, 1, [["c"]]),
        (1, 1, [["one"]]),
        (1, 2, [["two"]]),
        (1, 3, [["a", "few"], ["two"]]),
        (5, 3, [["before"]]),
    ]
    assert paraphrases.of(["zebra", "0", "in", "front"]) == []


def test_a_word_belongs_to_the_sets_of_its_lemma() -> None:
    synonyms = Synonyms(
        ["car", "1 2", "child", "3", "marche", "4", "march", "5", "glass", "6", "fly", "7", "as", "8"],
        ["child", "children"],
    )
    assert synonyms.sets_of("cars") == {"1", "2"}
    assert synonyms.sets_of("children") == {"3"}
    assert synonyms.sets_of("marches") == {"4"}  # the first ending that gives a listed word
    assert synonyms.sets_of("glasses") == {"6"}
    assert synonyms.sets_of("flies") == {"7"}
    assert synonyms.sets_of("as") == {"8"}
    assert synonyms.sets_of("bass") == frozenset()  # two s are no plural


def installation(folder: Path, paraphrases: bytes) -> tuple[Path, Path]:
    with zipfile.ZipFile(folder / "m.jar", "w") as jar:
        jar.writestr("function/english.words", "the\nof\n")
        jar.writestr("synonym/english.synsets", "car\n1\n")
        jar.writestr("synonym/english.exceptions", "child\nchildren\n")
    (folder / "p.gz").write_bytes(paraphrases)
    return folder / "m.jar", folder / "p.gz"


def test_tables_are_read_from_jar_and_archive(tmp_path: Path) -> None:
    tables = MeteorTables(*installation(tmp_path, gzip.compress(table())))
    assert tables.function_words == {"the", "of"}
    assert tables.synonyms.sets_of("car") == {"1"}
    assert tables.paraphrases.of(["b"]) == [(0, 1, [["c"]])]


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read from .*m\.jar.*p\.gz.*pycocoevalcap"):
        MeteorTables(*installation(tmp_path, gzip.compress(table())[:-20]))
