from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.text.normalization import caption_normalizer

NORMALIZER = caption_normalizer(lowercase=True)


def normalize(text: str) -> str:
    return str(NORMALIZER.normalize_str(text))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A dog 's T-shirt , (red) . Big -- end.", "a dog's t-shirt red big end"),
        ("It does n't move; they 're “done”!", "it doesn't move they're done"),
        ("3.5 m, 1,000 people at 10:30.", "3.5 m 1,000 people at 10:30"),
        ("An at&t sign # 7, 100% wool and/or silk", "an at&t sign # 7 100% wool and/or silk"),
        ("the boys' slip 'n' slide, rock-'n'-roll", "the boys slip n slide rock n roll"),
        ("the dog’s non‑slip mat – red…", "the dog's non-slip mat red"),
        ("a\u2028b\x0bc\x0cd\re\x85f\xa0g\x00h\x1ci\tj\n", "a b c d e f g h i j"),
        ("col·lecció «groga»", "col·lecció groga"),
        ("cafe\u0301", "café"),
        ("一只狗。跑，", "一只狗 跑"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),
        ("مرحبا، كيف؟", "مرحبا كيف"),
        ("👨‍👩‍👧 smile 😀!", "👨‍👩‍👧 smile 😀"),
        ("stop at <eos> or <EOS>", "stop at eos or eos"),
        (" . , ! ", ""),
        ("", ""),
    ],
)
def test_kept_and_removed_characters(raw: str, expected: str) -> None:
    assert normalize(raw) == expected


def test_capitals_stay_where_asked_for() -> None:
    assert caption_normalizer(lowercase=False).normalize_str("Tom 'S Café.") == "Tom'S Café"


@given(st.text() | st.text(alphabet="aZ1 .,:'-n’st<>·\u0301\u2028", max_size=12))
def test_output_is_clean_and_stable(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once.split() == [word for word in once.split(" ") if word]
    assert " ".join(once.split()) == once
    assert not set(once) & set("<>")


@pytest.mark.real
def test_the_reference_tokenizer_sees_the_same_words(real_data: Path) -> None:
    """coco-caption's PTB tokens of the normalised caption are those of the caption as written.

    What differs are abbreviations, which lose their points (D.C.), and round brackets, which coco-caption
    keeps as -lrb- by mistake.
    """
    ptb = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer", reason="needs pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("needs Java: the PTB tokenizer is a jar")
    lines = (real_data / "flickr8k" / "Flickr8k.token.txt").read_text().splitlines()
    raw = [line.split("\t")[1] for line in lines[::5]]

    def tokens(captions: list[str]) -> list[str]:
        given_ids = {str(i): [{"caption": caption}] for i, caption in enumerate(captions)}
        return [words[0] for words in ptb.PTBTokenizer().tokenize(given_ids).values()]

    same = [a == b for a, b in zip(tokens(raw), tokens([normalize(c) for c in raw]), strict=True)]
    assert sum(same) >= 0.998 * len(same)
