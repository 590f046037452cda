"""A study on disk: its trials, what each has reported, and which values are drawn next.

All of it stands in one SQLite file, which one process at a time writes to. A trial enters it with
all its values at once, and they are a pure function of the seed, its number and the trials before
it, so that a study that was killed and goes on is the one that was never interrupted.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from core import files
from core.errors import CheckpointError, ExitCode, FlagError, MachineError
from engine.tuning.space import Searched

DATABASE = "study.db"
_NAME = "study"  # Hyperband's brackets depend on it
_SETTINGS = "settings"


class Study:
    """What has been tried so far.

    Args:
        study: of optuna.
        directory: --study_dir.
        space: what is searched.
        metric: --best_metric.
        seed: of what is drawn.
        pruner: median, hyperband or none.
    """

    def __init__(
        self,
        study: optuna.Study,
        directory: Path,
        space: Sequence[Searched],
        metric: str,
        seed: int,
        pruner: str,
    ) -> None:
        self.directory, self.space, self.metric, self.seed = directory, space, metric, seed
        self._study, self._pruner = study, pruner

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Those that have ended for good."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def best(self) -> FrozenTrial | None:
        """The first of the best complete trials."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return min(complete, key=lambda trial: self.order(trial.value), default=None)

    def order(self, value: float) -> float:
        """What is the lower, the better a value of the metric is."""
        return value if self.metric == "loss" else -value

    def unfinished(self) -> list[Trial]:
        """The trials that a study which was interrupted has left to go on with."""
        return [
            Trial(self._study, trial._trial_id)
            for trial in self.trials
            if not trial.state.is_finished()
        ]

    def draw(self) -> Trial:
        """A new trial, with all its values."""
        number = len(self.trials)
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        scratch = optuna.create_study(
            study_name=_NAME,
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=self._new_pruner(),
            direction=self._study.direction,
        )
        scratch.add_trials(self.trials)
        distributions = {one.flag: _distribution(one) for one in self.space}
        params = scratch.ask(distributions).params
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING, params=params, distributions=distributions
            )
        )
        return self.unfinished()[-1]

    def report(self, trial: Trial, values: Sequence[float]) -> int | None:
        """Reports what a trial has reached, one value per validation so far.

        A value is known by its place among the validations, not by its step: the steps of an epoch
        differ with the batch size, and the rungs of Hyperband are powers of 3 of such places.

        Returns:
            The number of the validation at which the trial is not worth going on with; None if
            it is.
        """
        self._study.pruner = self._new_pruner()
        reported = self._frozen(trial).last_step or 0
        for number, value in enumerate(values, 1):
            if number > reported:
                trial.report(value, number)
            if number >= reported and trial.should_prune():
                return number
        return None

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Remembers something of a trial; None: as it was."""
        for name, value in attributes.items():
            if value is not None:
                trial.set_user_attr(name, value)

    def end(self, trial: Trial, state: TrialState, value: float | None = None) -> FrozenTrial:
        """Ends a trial for good."""
        return self._study.tell(trial, value, state)

    def failures(self) -> list[FrozenTrial]:
        """The trials that failed otherwise than by diverging, if no trial has got anywhere."""
        failed = [trial for trial in self.finished if trial.state == TrialState.FAIL]
        diverged = any(t.user_attrs["exit_code"] == ExitCode.DIVERGED for t in failed)
        if diverged or any(trial.intermediate_values for trial in self.trials):
            return []
        return failed

    def importance(self) -> dict[str, float]:
        """The share of each flag in the variance of the metric, the largest first.

        By fANOVA (Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
        Hyperparameter Importance", ICML 2014) over the complete trials, of which there are two.
        """
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.trials[trial.number]

    def _new_pruner(self) -> BasePruner:
        """The pruner; Hyperband's longest run is as long as the first complete trial."""
        if self._pruner == "median":
            return MedianPruner()
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        if self._pruner == "none" or not complete:
            return NopPruner()
        first = min(complete, key=lambda trial: trial.datetime_complete)
        return HyperbandPruner(max_resource=first.last_step)


def _distribution(one: Searched) -> BaseDistribution:
    if one.kind == "choice":
        return CategoricalDistribution(one.values)
    if one.kind == "int":
        return IntDistribution(*one.ends)
    return FloatDistribution(*one.ends, log=one.kind == "log")


@contextlib.contextmanager
def opened(
    directory: Path, space: Sequence[Searched], fixed: Mapping[str, str], config: Any
) -> Iterator[Study]:
    """Holds a study's directory; begins the study or finds the one that is there.

    Args:
        directory: --study_dir.
        space: what is searched.
        fixed: the flags that are the same for all trials, as texts.
        config: read here: best_metric, seed, pruner.

    Raises:
        LockedError: another process tunes in it.
        FlagError: the study that is there has another space or other flags.
        CheckpointError: it is damaged.
        MachineError: the directory cannot be written to, now or while the block runs.
    """
    files.make_directory(directory)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    path = directory / DATABASE
    settings = _settings(space, fixed, config)
    with files.locked(directory), _storage_errors_told(path):
        files.sweep(directory)
        if not path.exists():
            _begin(path, settings, "minimize" if config.best_metric == "loss" else "maximize")
        study = _loaded(path)
        _check_same(study.user_attrs[_SETTINGS], settings, path)
        yield Study(study, directory, space, config.best_metric, config.seed, config.pruner)


def _begin(path: Path, settings: dict[str, dict[str, str]], direction: str) -> None:
    """Makes the file of a new study.

    Optuna makes it in several transactions, in the middle of which it is of no use.
    """
    if any(path.parent.glob("trial_*")):
        raise CheckpointError(
            "missing, but there are directories of trials",
            where=str(path),
            remedy="bring back the file that belongs to them, or use another --study_dir",
        )
    # In a directory of its own: SQLite leaves a journal when it fails half-way.
    with files.staging(path.parent) as stage:
        storage = _storage(stage / path.name)
        study = optuna.create_study(storage=storage, study_name=_NAME, direction=direction)
        study.set_user_attr(_SETTINGS, settings)
        storage.engine.dispose()
        files.commit(stage, [path.name], path.parent)


def _storage(path: Path) -> optuna.storages.RDBStorage:
    url = sqlalchemy.URL.create("sqlite", database=str(path))
    return optuna.storages.RDBStorage(url.render_as_string(hide_password=False))


def _loaded(path: Path) -> optuna.Study:
    """The study of a file; sqlite3.DatabaseError if it is damaged."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (answer,) = connection.execute("PRAGMA quick_check").fetchone()
    if answer != "ok" or not path.stat().st_size:
        raise sqlite3.DatabaseError(answer if answer != "ok" else "it is empty")
    try:
        study = optuna.load_study(storage=_storage(path), study_name=_NAME)
        study.get_trials(deepcopy=False)
    except (ValueError, LookupError, TypeError, RuntimeError) as error:
        raise sqlite3.DatabaseError(error) from None
    return study


def _settings(
    space: Sequence[Searched], fixed: Mapping[str, str], config: Any
) -> dict[str, dict[str, str]]:
    """What cannot change while a study goes on."""
    study = {"best_metric": config.best_metric, "seed": str(config.seed), "pruner": config.pruner}
    return {"flags": {**fixed, **study}, "space": {one.flag: str(one) for one in space}}


def _check_same(
    before: dict[str, dict[str, str]], now: dict[str, dict[str, str]], path: Path
) -> None:
    """FlagError if the study was begun with other settings."""
    for what, said in (("flags", "--{}"), ("space", "the search of {}")):
        for name in sorted(before[what].keys() | now[what].keys()):
            was, is_now = (values[what].get(name, "not given") for values in (before, now))
            if was != is_now:
                raise FlagError(
                    f"{said.format(name)} was {was} in the study so far, now it is {is_now}",
                    where=str(path),
                    remedy="pass the same, or another --study_dir",
                )


@contextlib.contextmanager
def _storage_errors_told(path: Path) -> Iterator[None]:
    """Tells errors of the file in the terms of the house."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.DBAPIError, sqlite3.Error) as e:
        error: BaseException = e
        while error.__cause__ and not isinstance(error, sqlite3.Error):
            error = error.__cause__
        error = getattr(error, "orig", error)
        if isinstance(error, sqlite3.OperationalError):
            raise MachineError(
                str(error), where=str(path), remedy="see whether the disk is full or read-only"
            ) from None
        raise CheckpointError(
            f"damaged: {error}",
            where=str(path),
            remedy="bring back a copy of it, or use another --study_dir",
        ) from None
