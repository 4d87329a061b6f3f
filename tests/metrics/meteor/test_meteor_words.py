from __future__ import annotations

import pytest

from captioner.metrics.meteor.meteor_words import meteor_words

# java -jar meteor-1.5.jar FILE FILE -l en -norm -m exact -writeAlignments, METEOR 1.5 in pycocoevalcap 1.2
GOLDEN = [
    ("a man riding a wave", "a man riding a wave"),
    ("a man 's t-shirt ca n't u.s. st. -lrb- x -rrb-", "a man ' s t shirt ca n 't us st . -lrb- x -rrb-"),
    ("it 's do n't 'n' 'em '90s o'brien y' all", "it ' s do n 't ' n ' ' em ' 90s o 'brien y ' all"),
    ("x 5 1,000 3.14 10:30 1/2 and/or 50 % at&t", "x 5 1,000 3.14 10 : 30 1 / 2 and / or 50 % at & t"),
    ("mr. dr. st. etc. a.m. e.g. no. 5 jr. x. end.", "mr. dr. st. etc. am eg no . 5 jr. x. end ."),
    ("w vs. dog v. cat rev. 5 pp. 5 art. 5", "w vs. dog v. cat rev. 5 pp. 5 art . 5"),
    ("well-known-ish x-ray a--b -5 10-year-old", "well known ish x ray a b -5 10 year old"),
    ("w x- x--y x---y -x-y- x-y-z", "w x- x y x--y -x y- x y-z"),
    ("w a.. b... ..d h...i . j", "w a .. b ... .. d h ... i . j"),
    ("café naïve zürich русский ☃ ½", "café naïve zürich русский ☃ ½"),
    ("", ""),
]


@pytest.mark.parametrize(("caption", "expected"), GOLDEN)
def test_words_are_those_of_the_jar(caption: str, expected: str) -> None:
    assert meteor_words(caption) == expected.split()
