"""Files and settings of the viewer, and JSON that is safe within a script tag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from captioner.overlay.colour import AGAINST, COLOURS, FOR, OPACITY, UNSEEN, UNSEEN_LINE, UNSEEN_STEP, Scale

SCRIPTS = ("view", "maps", "paint", "pane", "details", "download", "viewer", "options", "report")
"""The viewer's scripts in order of dependence. The last, `report`, is for a written page only."""


def asset(name: str) -> str:
    """The text of one of the viewer's files, for example "viewer.css" or "viewer.js"."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """All scripts of a written page, joined."""
    return "".join(asset(f"{part}.js") for part in SCRIPTS)


def viewer_settings(
    scale: Scale = "caption", methods: Sequence[Mapping[str, object]] = ()
) -> dict[str, object]:
    """Settings of a page's viewer, as JSON values.

    Args:
        scale: Initial scale, as in `upper_end`.
        methods: The methods that can be chosen on the page, as `merge_choices` collects them.
    """
    return {
        "methods": list(methods),
        "colours": [table.tobytes().hex() for table in (COLOURS, FOR, AGAINST)],
        "opacity": OPACITY,
        "unseen": [UNSEEN, UNSEEN_LINE, UNSEEN_STEP],
        "scale": scale,
    }


def script_json(value: object) -> str:
    """JSON for the content of a script tag: no text in it can close the tag."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
