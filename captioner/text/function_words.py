"""English function words: articles, pronouns, auxiliaries, prepositions and conjunctions."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CORE = _words("""
a an the this that these those some her his its their is are was were be been being has have and or but of in on at to
by with from for as
""")
_FURTHER = _words("each my our your had who which into off onto over through under than when while")

COMMON_FUNCTION_WORDS = _CORE | _words("he she it they there")
"""The most common ones; a page first shows the first word of a caption that is none of them."""

FUNCTION_WORDS = COMMON_FUNCTION_WORDS | _FURTHER | _words("any do does down out up")
"""Words whose attention is reported as that of function words."""

NEVER_LAST = (
    _CORE
    | _FURTHER
    | _words("""
above across against along among around behind below beneath beside between during inside like near toward towards
upon without because if where whose every very
""")
)
"""Words with which no caption should end. Pronouns and particles are missing: they may end one."""
