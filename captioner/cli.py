"""Where is the configuration, and how does every command start, fail and say so?"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from captioner.errors import CaptionerError, UsageError

PATH_SETTINGS = (
    "model",
    "ensemble",
    "images",
    "overlay",
    "explain",
    "annotations",
    "output_dir",
    "resume",
    "init_from",
    "candidates",
    "references",
    "clip",
    "frequency",
    "save_frequency",
    "data.root",
    "data.instances",
    "data.entities",
    "data.train_shards",
    "data.val_shards",
    "data.test_shards",
    "encoder.weights",
    "cache.folder",
    "decoding.frequency",
    "constraints.prefix",
)
"""Settings whose value is taken as text, whatever characters it has."""
_OPTIONAL_PATHS = (
    "ensemble",
    "data.instances",
    "data.entities",
    "decoding.frequency",
    "overlay",
    "annotations",
    "resume",
    "init_from",
    "frequency",
    "save_frequency",
    "encoder.weights",
)


def conf_dir() -> Path:
    """The folder of YAML files: `captioner/conf` in a wheel, `conf` beside the package in a checkout.

    Raises:
        CaptionerError: If the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise CaptionerError(f"no conf folder in {package} or {package.parent}; install captioner again")


def run(task: Callable[[DictConfig], int], config_name: str) -> NoReturn:
    """Run a command: compose `config_name` with the command line's overrides and call `task`.

    `task` returns the exit status. What the user got wrong ends in one line on standard error and status 2; other
    errors of ours in one line and their own status; a bug of ours in its traceback.

    Args:
        task: Takes the composed configuration; heavy imports belong inside it.
        config_name: A YAML file of `conf/`, without suffix.
    """
    import hydra

    from captioner.malloc import keep_freed_memory

    keep_freed_memory()

    def guarded(cfg: DictConfig) -> None:
        def checked() -> int:
            _refuse_missing(cfg)
            _refuse_other_kinds(cfg, config_name)
            return task(cfg)

        # Hydra would add a line about overrides to what leaves here as an exception.
        if status := status_of(checked):
            sys.exit(status)

    # Otherwise Hydra prints errors itself: long ones for the user's slips, shortened ones for our bugs.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files may hold bytes that are no text
    try:
        _refuse_no_option(sys.argv[1:])
        sys.argv[1:] = [_quoted(argument) for argument in sys.argv[1:]]
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(guarded)()
    except CaptionerError as error:
        fail(error)
    except (HydraException, OmegaConfBaseException) as error:
        fail(UsageError(_one_line(error)))
    except BrokenPipeError:
        # The reader of our output has seen enough, as in `--help | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail_of_a_path(error)
    except KeyboardInterrupt:
        print("\nstopped by the keyboard", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def status_of(task: Callable[[], int]) -> int:
    """The status that `task` returns; what the user got wrong ends the process in one line on standard error."""
    try:
        return task()
    except CaptionerError as error:
        fail(error)
    except OmegaConfBaseException as error:
        fail(UsageError(_one_line(error)))
    except OSError as error:
        _fail_of_a_path(error)


def _one_line(error: Exception) -> str:
    """Hydra's message without its advice for programmers."""
    text = str(error)
    for noise in ("Config search path:", "full_key:", "Set the environment variable", "See https://"):
        text = text.partition(noise)[0]
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line).replace(":;", ":")


def _quoted(argument: str) -> str:
    """Put quotes around a value that names files, so that Hydra takes blanks, commas, `=` and brackets as they are."""
    key, _, value = argument.partition("=")
    if key not in PATH_SETTINGS or not value or (value == "null" and key in _OPTIONAL_PATHS):
        return argument
    is_list_or_quoted = len(value) > 1 and value[0] + value[-1] in ("[]", "''", '""')
    if is_list_or_quoted and not os.path.exists(value):
        return argument
    # Hydra reads a backslash only where a quote follows it.
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def fail(error: CaptionerError) -> NoReturn:
    """Print an error in one line and leave with its status."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def _fail_of_a_path(error: OSError) -> NoReturn:
    if error.filename is None:
        raise error
    fail(UsageError(f"{error.filename}: {error.strerror}; check output_dir and the other paths"))


def _refuse_no_option(arguments: list[str]) -> None:
    """Hydra itself meets `logger=null` with a traceback."""
    for argument in arguments:
        group, _, option = argument.partition("=")
        options = (
            sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) if option == "null" else ()
        )
        if options:
            raise UsageError(
                f"{argument} names no option of the group {group}; choose from {', '.join(options)}"
            )


def _refuse_missing(cfg: DictConfig) -> None:
    missing = [key for key, value in _leaves(OmegaConf.to_container(cfg), "") if value == "???"]
    if missing:
        hint = " ".join(f"{key}=..." for key in missing)
        raise UsageError(f"these settings need a value: {', '.join(missing)}; add {hint} to the command")


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _refuse_other_kinds(cfg: DictConfig, config_name: str) -> None:
    """What is a number or a switch in `conf/` must be one on the command line. Lightning checks `trainer` itself."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices.items()
    groups = [
        f"{group}={option}"
        for group, option in choices
        if option not in (None, "None") and not group.startswith("hydra/")
    ]
    usual = dict(_leaves(OmegaConf.to_container(compose(config_name, groups)), ""))
    for key, value in _leaves(OmegaConf.to_container(cfg), ""):
        if key.startswith("trainer.") or value is None or (isinstance(value, str) and "${" in value):
            continue
        match usual.get(key):
            case bool():
                fits, kind = isinstance(value, bool), "true or false"
            case int():
                fits, kind = type(value) is int, "a whole number"
            case float():
                fits, kind = type(value) in (int, float), "a number"
            case _:
                continue
        if not fits:
            raise UsageError(f"{key}={value} must be {kind}, as in {key}={usual[key]}")
