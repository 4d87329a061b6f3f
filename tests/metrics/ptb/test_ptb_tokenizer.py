from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.ptb.ptb_tokenizer import PUNCTUATION, _tokens, tokenize

# Caption and what pycocoevalcap 1.2 makes of it: java -cp stanford-corenlp-3.4.1.jar
# edu.stanford.nlp.process.PTBTokenizer -preserveLines -lowerCase, then its list of punctuation removed.
GOLDEN = [
    ("A man riding a wave on top of a surfboard.", "a man riding a wave on top of a surfboard"),
    ("Two dogs , one black , one white , run .", "two dogs one black one white run"),
    ("Mr. Smith went to the U.S. with Dr. Jones.", "mr. smith went to the u.s. with dr. jones"),
    ("a store on Main St. next to a sign", "a store on main st. next to a sign"),
    ("a sign reading STOP.", "a sign reading stop"),
    ("fireplace, chairs, bookshelves etc.", "fireplace chairs bookshelves etc."),
    ("the end Inc. The dog Co. Ltd.", "the end inc. the dog co. ltd."),
    ("plan a. The dog", "plan a the dog"),
    ("a. b. c. U.S. The cat", "a. b. c. u.s. the cat"),
    ("no. 5 and no. dogs, pp. 3", "no. 5 and no dogs pp. 3"),
    ("in Wash. it rains, i wash. my hands", "in wash. it rains i wash my hands"),
    (
        "Can't won't isn't cannot gonna gotta wanna lemme gimme",
        "ca n't wo n't is n't can not gon na got ta wan na lem me gim me",
    ),
    (
        "I'm you're he's they've she'd we'll dogs' James'",
        "i 'm you 're he 's they 've she 'd we 'll dogs james",
    ),
    ("'tis 'twas 'em '90s '95 rock 'n' roll", "'t is 't was 'em '90s '95 rock 'n' roll"),
    ("rock'n'roll o'clock y'all O'Brien d'Artagnan", "rock 'n' roll o'clock y' all o'brien d'artagnan"),
    ("ma'am c'mon Hallowe'en hawai'i ol' goin'", "ma'am c'mon hallowe'en hawai'i ol' goin"),
    ("don’t it’s ‘single’ “double” ’em", "do n't it 's single double ’em"),
    ("a \"quoted\" 'phrase' ``here''", "a quoted phrase here"),
    ("(a) [b] {c} -LRB-", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb- -lrb-"),
    ("$5.00 US$ 5 A$5 €10 £3 50¢ ¥100 50%", "$ 5.00 us$ 5 a$ 5 $ 10 # 3 50 cents ¥ 100 50 %"),
    (
        "1,000.50 3.14 .5 -5 +5 10:30 5pm 3D 1990s 1990's",
        "1,000.50 3.14 .5 -5 +5 10:30 5pm 3d 1990s 1990 's",
    ),
    ("1/2 3/4 1 1/2 1½ ½ and/or w/ 24/7", "1/2 3/4 1\xa01/2 1 1/2 1/2 and/or w / 24/7"),
    (
        "555-1234 (555) 123-4567 +1 555 123 4567",
        "555-1234 -lrb-555-rrb-\xa0123-4567 +1 555\xa0123\xa04567",
    ),
    (
        "10-year-old t-shirt X-ray U.S.-based non-U.S. semi-",
        "10-year-old t-shirt x-ray u.s.-based non-u.s. semi",
    ),
    ("a-b a--b a---b a – b a—b -- a -----", "a-b a b a b a b a b a -----"),
    ("what?! no!! wow!!! really??? Yahoo!s ... . . . ..", "what ?! no !! wow !!! really ??? yahoo!s"),
    (
        "http://www.example.com/foo?bar=1 www.test.com foo@bar.com example.org/path @user #tag #1",
        "http://www.example.com/foo?bar=1 www.test.com foo@bar.com example.org/path @user #tag # 1",
    ),
    ("AT&T R&B a&b C++ C# a_b a*b 2*3 x=y x+y", "at&t r&b a & b c++ c# a_b a * b 2 * 3 x = y x + y"),
    (
        "<b>bold</b> <br/> <a b> a <3 b &amp; &lt; &quot;hi&quot;",
        "<b> bold </b> <br/> <a\xa0b> a < 3 b & < hi",
    ),
    (":) :-) ;) :D =( :/ ^_^ >_<", ":-rrb- :--rrb- ;-rrb- :d =-lrb- / ^_^ >_<"),
    (
        "café naïve Zürich Łódź 日本語 русский العربية हिन्दी",
        "café naïve zürich łódź 日本語 русский العربية हिन्दी",
    ),
    ("a 😀 dog 🏂 ❤️ ☃ ★ ✓ © ® ™ ° § • ½", "a dog ❤ ☃ ★ ✓ © ® ™ ° § • 1/2"),
    ("soft\u00adhyphen wide\u3000space zero\u200bwidth", "softhyphen wide space zero width"),
    ("24/7Ω w/é and/or he/she. a/b-é éa/b w/oo_O", "24/7 ω w / é and/or he/she a/b é éa / b w/oo _ o"),
    ("Jan.Ω Inc.ж Jan.ab foo.éa etc.a @user¾ #aé", "jan. ω inc. ж jan.ab foo.éa etc. a @user 3/4 #aé"),
    (":)é :-)Ω :Dж :-)x", ":-rrb- é :--rrb- ω :d ж -rrb- x"),
    ("!", ""),
    ("...", ""),
    ("''", ""),
    ("   ", ""),
    ("", ""),
]


@pytest.mark.parametrize(("caption", "expected"), GOLDEN)
def test_tokens_are_those_of_the_java_tools(caption: str, expected: str) -> None:
    assert tokenize(caption) == expected


@given(st.text(alphabet="abcnoT05 .,-", max_size=40))
def test_the_fast_path_for_plain_captions_gives_equal_tokens(caption: str) -> None:
    assert tokenize(caption) == " ".join(token for token in _tokens(caption) if token not in PUNCTUATION)


@given(st.text(max_size=60))
def test_any_text_gives_lower_case_tokens_without_punctuation(caption: str) -> None:
    tokens = tokenize(caption).split(" ")
    assert tokens == [""] or all(token and token not in PUNCTUATION for token in tokens)
    assert tokenize(caption) == tokenize(caption).lower()


@pytest.mark.parametrize("space", ["\n", "\r\n", "\t", "\x0b", "\x0c", "\u2028", "\u2029", "\u0085"])
def test_white_space_of_any_kind_separates_words(space: str) -> None:
    # The Java tool takes some of these for the end of a caption, which shifts every later caption.
    assert tokenize(f"a dog{space}runs") == "a dog runs"


def test_many_unusual_characters_in_a_row_are_tokenized() -> None:
    assert len(tokenize("<a " * 2000 + "x@" * 2000 + "." * 2000 + "(" * 2000).split(" ")) > 4000


@pytest.mark.real
def test_recorded_coco_captions_give_recorded_tokens(real_data: Path) -> None:
    recorded = json.loads((real_data / "metrics" / "coco_fakecap_1000.json").read_text())
    for kind in ("references", "candidates"):
        for image, captions in recorded[kind].items():
            assert [tokenize(caption) for caption in captions] == recorded[f"tokenized_{kind}"][image]
