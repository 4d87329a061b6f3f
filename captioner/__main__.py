"""The list of commands: python -m captioner."""

from __future__ import annotations

import sys

from captioner.errors import UsageError, did_you_mean, status_of

COMMANDS = {
    "train": "train a captioner",
    "predict": "caption photos, with attention overlays for each word",
    "evaluate": "caption a split of a dataset and score it",
    "score": "score captions of any origin against references",
    "doctor": "inspect a dataset before training",
    "search": "search settings of train with Optuna",
}
"""The modules of this package that are commands."""


def main() -> int:
    """Print the commands; each is a module and a console script of its own."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    if arguments:
        name = arguments[0].removeprefix("captioner.")
        if name in COMMANDS:
            raise UsageError(f"{name} is a command of its own; run python -m captioner.{name}")
        raise UsageError(
            f"unknown command {name}; choose from {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        )
    width = max(len(name) for name in COMMANDS)
    for name, purpose in COMMANDS.items():
        print(f"python -m captioner.{name:<{width}}  {purpose}")
    print("\nWith --help, each lists its settings. captioner-train and the like are the same commands.")
    return 0


if __name__ == "__main__":
    sys.exit(status_of(main))
