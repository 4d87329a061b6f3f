"""Which characters of a caption reach the model? One normaliser for every kind of tokenizer.

Captions are judged without punctuation (coco-caption drops it before it scores), so the model is not asked to
write any. What is dropped here and what coco-caption drops differ only inside words: see
`caption_normalizer`.
"""

from __future__ import annotations

from tokenizers import Regex, normalizers

# Classes of the Oniguruma engine inside `tokenizers`; `&&` intersects.
_WORD = r"\p{L}\p{M}\p{N}"
# Angle brackets and the backtick are symbols to Unicode but brackets and quotes to whoever types them.
# Dropping the angle brackets also means that no caption can spell the name of a control token such as <eos>.
_ALWAYS = r"[\s\p{Cc}\p{P}<>`&&[^#%&*/@\\_.,:'·׳״\-]]"
_OUTSIDE_NUMBERS = r"(?<![0-9])[.,:]|[.,:](?![0-9])"
_OUTSIDE_WORDS = rf"(?<![{_WORD}])['·׳״\-]|['·׳״\-](?![{_WORD}])"
_SEPARATORS = f"(?:{_ALWAYS}|{_OUTSIDE_NUMBERS}|{_OUTSIDE_WORDS})+"
_CLITIC_GAP = rf"(?<=[{_WORD}])\s+(?=(?i:'(?:s|t|re|ve|ll|d|m)|n't)\b)"


def caption_normalizer(*, lowercase: bool) -> normalizers.Normalizer:
    r"""Builds the normaliser that is stored inside a tokenizer.

    In order:

    1. Lower case (if asked for), then Unicode NFC, so that an accent has one spelling.
    2. Curly apostrophes and Unicode hyphens become `'` and `-`.
    3. Clitics that a treebank tokenizer cut off are joined again: `men 's` becomes `men's`.
    4. Every run of white space, control characters and punctuation becomes one blank; blanks at the ends go.
       White space is what Unicode calls so: also U+2028, VT, FF, CR and the no-break space.

    Punctuation stays where it is part of a word: apostrophe, hyphen and middle dot between letters or digits
    (`t-shirt`, `don't`), `.` `,` `:` between digits (`3.5`, `10:30`), and `# % & * / @ \ _` anywhere (`at&t`,
    `# 7`). Symbols, emoji and all letters stay. Normalising twice changes nothing more.

    Args:
        lowercase: Fold capitals.

    Returns:
        A normaliser whose output holds single blanks between words and none of `<` and `>`.

    Source: the punctuation list in coco-caption's `ptbtokenizer.py` (Chen et al. 2015, Microsoft COCO
        Captions).
    """
    fold: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    return normalizers.Sequence(
        [
            *fold,
            normalizers.NFC(),
            normalizers.Replace(Regex("[‘’‛]"), "'"),
            normalizers.Replace(Regex("[‐‑]"), "-"),
            normalizers.Replace(Regex(_CLITIC_GAP), ""),
            normalizers.Replace(Regex(_SEPARATORS), " "),
            normalizers.Strip(),
        ]
    )
