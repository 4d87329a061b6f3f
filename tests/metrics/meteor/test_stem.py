from __future__ import annotations

import pytest

from captioner.metrics.meteor.stem import stem

# java -cp meteor-1.5.jar Stemmer en, METEOR 1.5 in pycocoevalcap 1.2
GOLDEN = """dogs dog
sitting sit
riding ride
horses hors
children children
playing play
hopping hop
falling fall
boats boat
bicycles bicycl
flies fli
cries cri
skies sky
skiing ski
skis ski
grassy grassi
happily happili
generously generous
communication communic
national nation
relational relat
sensational sensat
electricity electr
hopefulness hope
generalization general
adjustment adjust
adoption adopt
controlling control
controlled control
bed bed
bus bus
buses buse
gas gas
this this
yes yes
sayyid sayyid
boy's boy
dogs' dog
'tis tis
news news
proceed proceed
exceeding exceed
herring herring
agreed agre
feed feed
lying lie
only onli
u.s u.
a a"""


@pytest.mark.parametrize("pair", GOLDEN.splitlines())
def test_stems_are_those_of_the_jar(pair: str) -> None:
    word, expected = pair.split()
    assert stem(word) == expected
