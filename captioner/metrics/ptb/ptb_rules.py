"""Rules of PTB tokens as regular expressions; the longest match wins, then the first rule.

Measured on the reference tokenizer (CoreNLP 3.4.1), kind by kind. Tokens that the caller drops anyway have no rule,
such as lone quotes, commas and dashes: a character that no rule matches is dropped and separates words.
"""

from __future__ import annotations

import re

from captioner.metrics.ptb.ptb_characters import LETTER, SYMBOL

# Abbreviations that keep their period.
_TITLES = (
    "adj|adm|adv|alex|asst|atty|ave|brig|capt|cf|cie|cmdr|col|cpl|dept|det|drs?|elec|ens|ft|gen|govs?|hon|insp|invt"
    "|jos|lt|maj|messrs|mfg|mlle|mme|mrs?|ms|msgr|mt|mtg|natl|pfc|ph|pres|prof|pvt|reps?|rev|sens?|sfc|sgt|spc|ste?"
    "|supt|vs|wm"
)
_CLOSERS = (  # often the last word of a sentence; a longer dotted or hyphenated word takes precedence
    "ala?|apr|ariz|assn|aug|bhd|bldg|blvd|bros|calif|cos?|colo|conn|corp|ct|dak|dec|esq|est|etc|ext|feb|fla|fri|ga"
    "|inc|ind|intl|jan|jr|jul|jun|kans?|ky|ltd|mar|md|mich|minn|mo|mont?|neb|nev|nov|oct|okla|penn|plc|ppte|ppty"
    "|ptes?|ptys?|rd|rt|sept?|seq|sq|sr|sys|tel|tenn|thu|thurs|tues?|univ|va|vt|wed|wisc?|wyo"
)
_STATES = "Ark|Az|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"  # capitalised only: in lower case they are words
_NUMBERED = "art|ca|figs?|nos?|op|pp|prop"  # only before a number

# A single letter loses its period before a word that starts sentences, or before a tag.
_OPENERS = (
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once"
    "|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)

_L = f"[A-Za-z{LETTER}]"
_W = f"[A-Za-z0-9{LETTER}]"
_END = f"(?!{_W})"
_HYPHEN = "[-\u058a\u2010\u2011]"
_GAP = "[- ]"  # within a telephone number
_APOSTROPHE = "(?:['\u2019\x92]|&apos;)"
_QUOTE = "(?:['\u2019\x92`]|&apos;)"

_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*"
_TAG = rf"""</?{_NAME}(?:\s+{_NAME}(?:\s*=\s*(?:"[^"]*"|'[^']*'))?)*\s*/?>|<[!?][A-Za-z-][^>]*>"""
_MAIL = r"""[^\s"<>|(){}]"""
_URL_INSIDE, _URL_LAST = r"""[^\s"<>|()]""", r"""[^\s"<>|.!?(){},-]"""
_PREFIX = f"(?:[dloDLO]{_QUOTE})?"  # d'Artagnan, l'Oréal, O'Brien
_PART = f"{_PREFIX}{_W}+(?:_{_W}+)*"
_PLAIN = "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_STATE = "|".join(f"{name[0]}(?i:{name[1:]})" for name in _STATES.split("|"))

ABBREVIATION = re.compile(f"{_TITLES}|{_CLOSERS}|{_NUMBERED}|{_STATES}|[a-z]", re.IGNORECASE)

NEGATION = re.compile(f"[nN]{_QUOTE}[tT]$")
# Only the straight apostrophe depends on the next character: "it’sa" is split, "it'sa" is not.
CLITIC = re.compile("(?:[\u2019\x92]|&apos;)(?i:s|m|d|ll|re|ve)|'(?i:s|m|d|ll|re|ve)(?![A-Za-z])")

# Kind; whether the match may begin with a letter (l), a digit (d) or another mark (m); pattern. Kinds other than "word"
# are handled separately in `ptb_tokenizer`.
_RULES = [
    (kind, first, re.compile(pattern))
    for kind, first, pattern in [
        ("spaced", "m", _TAG),
        ("word", "ldm", rf"<?[a-zA-Z0-9]{_MAIL}*@(?:[^\s\"<>|().{{}}]+\.)*[^\s\"<>|().{{}}]+>?"),
        ("word", "l", rf"(?i:https?)://{_URL_INSIDE}+{_URL_LAST}"),
        ("word", "l", rf"(?i:www)\.(?:{_URL_LAST}+\.)+[a-zA-Z]{{2,4}}(?:[/?#]{_URL_INSIDE}+{_URL_LAST})?"),
        ("word", "l", rf"(?:[a-z]+\.)+(?:com|net|org|edu)[/?#]{_URL_INSIDE}+{_URL_LAST}"),
        ("word", "m", r"[<>]?[:;=][-o*']?[()DPdpO\\@\[\]{|](?![A-Za-z0-9])"),  # :-)
        ("word", "lm", r"[-^x=~<>']_[-^x=~<>']"),  # ^_^
        # Numbers
        (
            "spaced",
            "dm",
            rf"(?:\(\d\d\d?\){_GAP}?|(?:\+\+?)?(?:\d{{2,4}}{_GAP})?\d{{2,4}}{_GAP})\d{{3,4}}{_GAP}?\d{{3,5}}",
        ),
        ("spaced", "d", rf"(?:\d{{1,4}}{_GAP})?\d{{1,4}}(?:\\?/|\u2044)\d{{1,4}}"),  # 1 1/2
        ("word", "dm", r"[-+]?(?:\d+(?:[.,:]\d+)*|(?:[.,:]\d+)+)"),
        ("word", "d", rf"\d+(?:[.,:]\d+)+(?:-{_W}+)+"),
        # Words, with inner hyphens, slashes and periods
        (
            "word",
            "l",
            rf"(?!(?i:{_CLOSERS})\.{_L}(?![{_W[1:-1]}.])){_L}{_W}*(?:\.{_L}{_W}*)+(?:-[A-Za-z0-9]+)*",
        ),
        ("word", "l", rf"{_L}+(?:[!?]{_L}+)+"),  # Yahoo!s
        ("word", "ld", rf"{_PART}(?:\.?{_HYPHEN}{_PART})*"),
        ("word", "ld", rf"{_PLAIN}(?:/{_PLAIN})+"),  # and/or; ASCII letters only
        ("word", "l", r"[A-Z]+(?:(?:&|&amp;)[A-Z]+)+"),  # AT&T
        ("word", "l", r"[cCfF]#|[cC]\+\+|[A-Z]{1,3}\$"),
        # Words that keep a final period
        ("word", "l", rf"(?i:{_CLOSERS})\.(?!{_L}{_L}|-{_W}{_W})|(?:{_STATE})\.(?!{_L}{_L}|-{_W}{_W})"),
        ("word", "l", rf"(?i:{_TITLES})\."),
        ("word", "l", rf"(?i:{_NUMBERED})\.(?=\s*\d)"),
        ("word", "l", rf"[A-Za-z]\.(?!\s+(?:(?:{_OPENERS}|{_OPENERS.upper()})\s|Mr\.\s|{_TAG}))"),
        ("word", "ld", rf"(?:{_W}+-)?[A-Za-z](?:\.[A-Za-z])+\.|(?i:ph\.d)\."),  # U.S., non-U.S.
        ("word", "l", rf"[A-Za-z](?:\.[A-Za-z])*\.?(?:-{_W}+)+"),  # U.S.-based
        ("word", "ld", rf"{_W}+\.(?=[,;:])"),
        # Apostrophes
        ("negation", "l", rf"{_L}+[nN]{_QUOTE}[tT]|[nN]{_QUOTE}[tT]{_END}"),
        ("clitic", "m", CLITIC.pattern),
        (
            "word",
            "m",
            rf"{_APOSTROPHE}(?:(?i:em|cause)|(?i:til)|(?i:n){_APOSTROPHE}|(?i:n)(?!{_L})|\d0s|\d\d(?=\s|$))",
        ),
        ("word", "m", r"'[tT](?=(?i:is|was))"),
        (
            "word",
            "l",
            rf"(?i:ol{_APOSTROPHE}(?!{_L}{_L})|e'er|ev{_QUOTE}ry|cap{_APOSTROPHE}n|(?:nat|li){_APOSTROPHE}l"
            r"|c'mon|s'mores)",
        ),
        (
            "word",
            "l",
            rf"[A-Za-z]+[aeiouyAEIOUY](?!{CLITIC.pattern}){_QUOTE}[aeiouA-Z][A-Za-z]*",
        ),  # hallowe'en
        ("word", "l", rf"[dlnoDLNO]{_QUOTE}{_L}{_L}+|[jyJY]{_QUOTE}(?={_L})|[djlDJL]{_QUOTE}"),
        # Marks
        (
            "word",
            "m",
            rf"(?i:-[lr][rcs]b-)|[!?]{{2,}}|#{_L}+|@[A-Za-z_][A-Za-z0-9_]*|#+|\*+|_+|@+|<<|>>|\\\*|-{{5,}}",
        ),
        ("drop", "m", r"\.{3,}|&(?i:apos|nbsp|quot|mdash);"),
        ("entity", "m", r"&(?i:amp|lt|gt);"),
        ("word", "m", r"&#39;|&eacute;"),
        ("symbol", "m", rf"[{SYMBOL}$%&*+/<=>^|~\\#@_£¢€¤\x80\u20a0½¼¾⅓⅔()\[\]{{}}]"),
    ]
]


def _rules(first: str) -> list[tuple[str, re.Pattern[str]]]:
    return [(kind, pattern) for kind, starts, pattern in _RULES if first in starts]


_FOR_LETTERS, _FOR_DIGITS, _FOR_MARKS = _rules("l"), _rules("d"), _rules("m")


def rules_for(character: str) -> list[tuple[str, re.Pattern[str]]]:
    """Kinds and patterns of the rules whose matches may begin with a character."""
    if character in "0123456789":
        return _FOR_DIGITS
    return (
        _FOR_LETTERS if character == LETTER or (character.isalpha() and character.isascii()) else _FOR_MARKS
    )
