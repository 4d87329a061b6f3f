"""Search of settings of captioner.train with Optuna: python -m captioner.search.

    python -m captioner.search 'optim.lr=tag(log, interval(3e-4, 6e-3))' 'model.decoder.depth=range(1, 5)'
    python -m captioner.search data=flickr8k data.root=DIR encoder.weights=FILE cache=features --trials 30 \
        'model.decoder.score=choice(scaled_dot, additive)' 'model.dropout=interval(0, 0.5)' --output runs/tuning

Each `setting=value` is one of captioner.train's. A setting to search is given as `choice(a, b)`, as
`range(first, beyond, step)` or as `interval(low, high)`, which `tag(log, ...)` samples on a log scale. Each trial is a
run in a numbered folder. A stopped search continues when it is started again. Trials are sampled by the Tree-structured
Parzen Estimator (Bergstra et al. 2011).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.arguments import prepare
from captioner.cli import compose
from captioner.errors import CaptionerError, UsageError, status_of
from captioner.files import output_folder

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial


def main(arguments: Sequence[str] | None = None) -> int:
    """Search as `arguments` say; writes a folder for each trial, trials.csv and the study. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="captioner.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="setting=value", help="as for captioner.train")
    parser.add_argument(
        "--trials", type=int, default=20, help="number of trials, with those of earlier starts"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampler")
    parser.add_argument("--output", type=Path, default=Path("runs/search"), help="folder of the trials")
    args = parser.parse_intermixed_args(arguments)  # settings may stand before and after options
    return status_of(lambda: search(args.settings, trials=args.trials, seed=args.seed, folder=args.output))


def search(settings: Sequence[str], *, trials: int, seed: int, folder: Path) -> int:
    """Train `trials` runs, each with settings sampled from the results of those before it.

    Args:
        settings: Overrides of captioner.train; those that are sweeps are searched.
        trials: Number of runs in the end, with those that `folder` has already.
        seed: Of the sampler.
        folder: Of the runs, which are numbered folders in it.

    Returns:
        1 if no trial gave a score, else 0.

    Raises:
        UsageError: If there is nothing to search, or a setting is unknown to captioner.train.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UsageError("captioner.search needs Optuna; pip install 'captioner[search]'") from error

    if trials < 1:
        raise UsageError(f"--trials {trials} must be at least 1")
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        overrides = OverridesParser.create().parse_overrides(prepare("train", settings, sweep=True))
    except HydraException as error:
        raise UsageError(f"{str(error).splitlines()[0]}: write settings as setting=value") from error
    searched = [override for override in overrides if override.is_sweep_override()]
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    if not searched:
        raise UsageError(
            "nothing to search; give at least one setting as choice(a, b), range(1, 5) or interval(0.1, 0.5), "
            "such as 'optim.lr=tag(log, interval(3e-4, 6e-3))'"
        )
    for override in searched:
        _check(override)
    cfg = compose("train", fixed)
    output_folder(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "study.log"))),
        study_name="search",
        direction="maximize" if cfg.monitor_mode == "max" else "minimize",
        # Each start continues the sequence instead of repeating its first samples.
        sampler=optuna.samplers.TPESampler(seed=seed + _count(folder)),
        load_if_exists=True,
    )
    _refuse_other_settings(study, [*fixed, *(str(override.input_line) for override in searched)], folder)
    for left in range(trials - len(_finished(study)), 0, -1):
        trial = study.ask()
        sampled = [f"{override.get_key_element()}={_sample(trial, override)}" for override in searched]
        run_folder = folder / f"{trial.number:03}"
        print(f"trial {trial.number}: {' '.join(sampled)} ({left - 1} more)", flush=True)
        try:
            value = _train([*fixed, *sampled, f"output_dir={run_folder}"], cfg.monitor)
        except CaptionerError as error:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if isinstance(error, UsageError):
                raise
            print(f"error: trial {trial.number} gave no score: {error}", file=sys.stderr)
            continue
        study.tell(trial, value)
        _write(study, cfg.monitor, folder)
    scored = [trial for trial in _finished(study) if trial.value is not None]
    if not scored:
        return 1
    best = study.best_trial
    print(f"\nbest of {len(scored)}: {cfg.monitor} {best.value:.4f} in trial {best.number}")
    print(f"  {' '.join(f'{name}={value}' for name, value in best.params.items())}")
    print(f"model   {folder / f'{best.number:03}' / 'model.safetensors'}")
    print(f"trials  {folder / 'trials.csv'}")
    return 0


def _check(override: Override) -> None:
    """Refuse a sweep that Optuna cannot sample."""
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    value = override.value()
    if isinstance(value, RangeSweep) and None in (value.start, value.stop):
        raise UsageError(f"{override.input_line}: a range needs its first value and the one after its last")
    if isinstance(value, IntervalSweep) and not value.start < value.end:  # type: ignore[operator]
        raise UsageError(f"{override.input_line}: an interval goes from a lower value to a higher one")
    if isinstance(value, IntervalSweep) and "log" in value.tags and not value.start > 0:  # type: ignore[operator]
        raise UsageError(f"{override.input_line}: a log scale begins above 0")
    if not isinstance(value, ChoiceSweep | RangeSweep | IntervalSweep):
        raise UsageError(f"{override.input_line}: search by choice(...), range(...) or interval(...)")


def _sample(trial: Trial, override: Override) -> Any:
    """The value of a setting in a trial, as Hydra reads it."""
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    name, value = override.get_key_element(), override.value()
    if isinstance(value, ChoiceSweep):
        return trial.suggest_categorical(name, list(override.sweep_string_iterator()))
    if isinstance(value, RangeSweep):
        # Hydra excludes the end, Optuna includes it; neither it nor a step too far may be sampled.
        steps = list(value.range())
        if all(isinstance(step, int) for step in steps):
            return trial.suggest_int(
                name, steps[0], steps[-1], step=steps[1] - steps[0] if len(steps) > 1 else 1
            )
        return trial.suggest_categorical(name, steps)
    assert isinstance(value, IntervalSweep)
    assert value.start is not None
    assert value.end is not None
    return trial.suggest_float(name, value.start, value.end, log="log" in value.tags)


def _train(overrides: Sequence[str], monitor: str) -> float:
    """The best score of one run."""
    from captioner.bundle import load
    from captioner.training.fit import fit

    result = fit(compose("train", overrides))
    assert result is not None, "a trial trains in one process"
    scores = load(result.model_file).card["scores"]
    return float(scores[monitor])


def _count(folder: Path) -> int:
    """The number of trials that were started in `folder`."""
    return sum(1 for place in folder.glob("[0-9]*") if place.is_dir())


def _finished(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state.is_finished()]


def _refuse_other_settings(study: Study, settings: Sequence[str], folder: Path) -> None:
    """Refuse to continue a search with other settings, whose scores would mislead the sampler."""
    known = study.user_attrs.get("settings")
    if known is None:
        study.set_user_attr("settings", list(settings))
    elif known != list(settings):
        raise UsageError(
            f"--output {folder} holds a search of other settings ({' '.join(known)}); give those, or another folder"
        )


def _write(study: Study, monitor: str, folder: Path) -> None:
    """Write all trials as a table, the best first."""
    scored = [trial for trial in _finished(study) if trial.value is not None]
    scored.sort(key=lambda trial: trial.value or 0.0, reverse=study.direction.name == "MAXIMIZE")
    names = list(scored[0].params)
    with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["trial", monitor, *names])
        table.writerows(
            [trial.number, trial.value, *(trial.params[name] for name in names)] for trial in scored
        )


if __name__ == "__main__":
    sys.exit(main())
