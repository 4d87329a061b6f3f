"""Start and end of the commands: composition by Hydra, help, error messages and exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from captioner.arguments import Argument, check_complete, check_kinds, choices_of, prepare, settings_of
from captioner.composition import compose_defaults, conf_dir, groups_of, load_yaml, options, recipe_of, usual
from captioner.errors import UsageError, fail, status_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

_HELP = ("-h", "--help")


def run(task: Callable[[DictConfig], int], config_name: str) -> NoReturn:
    """Run a command: compose `config_name` with the command line's overrides and call `task`.

    `task` returns the exit status. A mistake of the user ends in one line on standard error and status 2, another error
    of this package in one line and its own status, a bug in its traceback.

    Args:
        task: Takes the composed configuration; heavy imports belong inside it.
        config_name: A YAML file of `conf/`, without suffix.
    """
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # file names may hold bytes that are not text
    try:
        sys.exit(status_of(lambda: _run(task, config_name)))
    except BrokenPipeError:
        # The reader of our output has closed it, as in `--help | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("\nstopped by the keyboard", file=sys.stderr)
        sys.exit(130)


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that a command gets, for programs that start none.

    Raises:
        UsageError: If an override is wrong.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    prepared = prepare(config_name, overrides)
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            return hydra.compose(config_name, prepared)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_one_line(error)) from error


def register_resolvers() -> None:
    """Make the resolvers of `conf/train.yaml` known to OmegaConf."""
    from omegaconf import OmegaConf

    def recipe(*, _root_: Any) -> str:
        return recipe_of(_root_)

    OmegaConf.register_new_resolver("usual", usual, replace=True)
    OmegaConf.register_new_resolver("recipe_of", recipe, replace=True)


def render_help(config_name: str, arguments: Sequence[str] = ()) -> str:
    """The text of `--help`: examples, groups with their options, and all settings as `arguments` change them."""
    import yaml  # type: ignore[import-untyped]

    groups = groups_of(config_name)
    given = [Argument.parse(argument) for argument in arguments]
    composition = compose_defaults(config_name, choices_of(given, groups))
    for argument in given:
        if argument.name not in groups and argument.value is not None:
            composition.set(argument.name, argument.value)
    texts = load_yaml(config_name).content["hydra"]["help"]
    listed = "\n".join(f"{group}: {', '.join(options(group))}" for group in sorted(groups))
    text: str = texts["template"].replace("${hydra.help.header}", texts["header"])
    text = text.replace("$APP_CONFIG_GROUPS", listed)
    settings = yaml.dump(composition.settings, sort_keys=False, allow_unicode=True, width=10_000)
    return text.replace("$CONFIG", settings)


def _run(task: Callable[[DictConfig], int], config_name: str) -> int:
    arguments = sys.argv[1:]
    sweep = any(argument in ("-m", "--multirun") for argument in arguments)
    prepared = prepare(config_name, arguments, sweep=sweep)
    if any(argument in _HELP for argument in arguments):
        print(render_help(config_name, settings_of(arguments)))
        return 0
    sys.argv[1:] = prepared
    return _run_by_hydra(task, config_name)


def _run_by_hydra(task: Callable[[DictConfig], int], config_name: str) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from captioner.malloc import keep_freed_memory

    keep_freed_memory()
    register_resolvers()

    def checked(cfg: DictConfig) -> int:
        settings: Any = OmegaConf.to_container(cfg)
        check_complete(settings)
        chosen = HydraConfig.get().runtime.choices.items()
        choices = {group: None if option in (None, "None") else option for group, option in chosen}
        check_kinds(settings, compose_defaults(config_name, choices))
        try:
            return task(cfg)
        except OmegaConfBaseException as error:
            raise UsageError(_one_line(error)) from error

    def guarded(cfg: DictConfig) -> None:
        # Hydra would add a line about overrides to an exception that leaves here.
        if status := status_of(lambda: checked(cfg)):
            sys.exit(status)

    # Otherwise Hydra prints errors itself: long ones for the user's mistakes, shortened ones for our bugs.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_one_line(error)) from error
    return 0


def _one_line(error: Exception) -> str:
    """Hydra's message without its advice for programmers."""
    if override := getattr(error, "override", None):
        return f"{override}: the value cannot be read; put quotes around it, as in setting=\"'value'\""
    text = str(error)
    for noise in ("Config search path:", "full_key:", "Set the environment variable", "See https://"):
        text = text.partition(noise)[0]
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line).replace(":;", ":")


__all__ = ["compose", "conf_dir", "fail", "register_resolvers", "render_help", "run", "status_of"]
