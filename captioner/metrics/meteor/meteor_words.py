"""METEOR's word normalisation (option `-norm`, which coco-caption sets).

Written from the output of METEOR 1.5. It is applied to captions that are PTB tokens already: it splits hyphenated words
and clitics again, and turns "u.s." into "us".
"""

from __future__ import annotations

import re

# Letters recognised beside a hyphen or an apostrophe within a word: Latin, Greek, Cyrillic.
_LETTER = (
    "a-zA-Z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0370-\u0373\u0376-\u0377\u037b-\u037d\u0386"
    "\u0388-\u03ff\u0400-\u0481\u048a-\u0527\u1e00-\u1fff\ufb00-\ufb06"
)
_WORD = _LETTER + "0-9"
_PLAIN = re.compile("[a-z0-9 ]*")
_STEPS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        ("``|''|[“”„]", '"'),
        ("[`‘’]", "'"),
        ("–", " - "),
        ("--", "-"),
        (f"([{_WORD}])-([{_WORD}])", r"\1 \2"),
        (rf"([^{_WORD}\s.',-])", r" \1 "),
        (r"(\.\.+)", r" \1 "),
        ("([^0-9]),([^0-9])", r"\1 , \2"),
        ("([0-9]),([^0-9])", r"\1 , \2"),
        ("([^0-9]),([0-9])", r"\1 , \2"),
        (f"([^{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (f"([^{_LETTER}])'([{_LETTER}])", r"\1 ' \2"),
        (f"([{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (f"([{_LETTER}])'([{_LETTER}])", r"\1 '\2"),
    ]
)
_KEEP_PERIOD = frozenset(["v", "vs", "i.e", "rev", "e.g", "pp"])
_HAS_LETTER = re.compile(f"[{_LETTER}]")


def meteor_words(caption: str) -> list[str]:
    """The words of a tokenized, lower-cased caption as METEOR compares them."""
    if _PLAIN.fullmatch(caption):
        return caption.split()
    text = f" {caption} "
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    words = text.split()
    normalised: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        bare = word[:-1]
        if not word.endswith(".") or not bare.strip("."):
            normalised.append(word)
        elif "." in bare and _HAS_LETTER.search(bare):
            normalised.append(bare.replace(".", ""))  # an acronym
        elif bare in _KEEP_PERIOD or following[:1].islower():
            normalised.append(word)
        else:
            normalised += [bare, "."]
    return normalised
