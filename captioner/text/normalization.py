"""Normalisation of captions, the same for every kind of tokenizer.

Metrics ignore punctuation (coco-caption removes it before scoring), so the model generates none. This normaliser and
coco-caption differ only inside words: see `caption_normalizer`.
"""

from __future__ import annotations

from tokenizers import Regex, normalizers

# Classes of the Oniguruma engine inside `tokenizers`; `&&` intersects.
_WORD = r"\p{L}\p{M}\p{N}"
# Unicode classes angle brackets and the backtick as symbols, but they are typed as brackets and quotes.
# Removing the angle brackets also ensures that no caption contains a control token such as <eos>.
_ALWAYS = r"[\s\p{Cc}\p{P}<>`&&[^#%&*/@\\_.,:'·׳״\-]]"
_OUTSIDE_NUMBERS = r"(?<![0-9])[.,:]|[.,:](?![0-9])"
_OUTSIDE_WORDS = rf"(?<![{_WORD}])['·׳״\-]|['·׳״\-](?![{_WORD}])"
_SEPARATORS = f"(?:{_ALWAYS}|{_OUTSIDE_NUMBERS}|{_OUTSIDE_WORDS})+"
_CLITIC_GAP = rf"(?<=[{_WORD}])\s+(?=(?i:'(?:s|t|re|ve|ll|d|m)|n't)\b)"


def caption_normalizer(*, lowercase: bool) -> normalizers.Normalizer:
    r"""The normaliser that is stored inside a tokenizer.

    In order:

    1. Lower case (optional), then Unicode NFC, so that an accent has one encoding.
    2. Curly apostrophes and Unicode hyphens become `'` and `-`.
    3. Clitics that a treebank tokenizer separated are joined again: `men 's` becomes `men's`.
    4. Every run of white space, control characters and punctuation becomes one space; spaces at the ends are removed.
       White space is Unicode's: also U+2028, VT, FF, CR and the no-break space.

    Punctuation stays where it is part of a word: apostrophe, hyphen and middle dot between letters or digits
    (`t-shirt`, `don't`), `.` `,` `:` between digits (`3.5`, `10:30`), and `# % & * / @ \ _` anywhere (`at&t`,
    `# 7`). Symbols, emoji and all letters stay. The normaliser is idempotent.

    Args:
        lowercase: Convert to lower case.

    Returns:
        A normaliser whose output has single spaces between words and contains neither `<` nor `>`.

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
