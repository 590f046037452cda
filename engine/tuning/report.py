"""What a study found, as files and for people."""

import io
import itertools
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core import csv_table, files
from engine.report import plots
from engine.tuning import space
from engine.tuning.study import Study

BEST_FILE, TRIALS_FILE = "best.flags", "trials.csv"
HISTORY_FILE, IMPORTANCE_FILE = "history.png", "importance.png"
_SHOWN = 5  # trials of the table, the best ones
_WIDEST = 10_000  # characters; a table takes what it needs of them
_BLUE, _ORANGE, _RED = plots.COLOURS[:3]
_STATES = {
    TrialState.RUNNING: "unfinished",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def line(study: Study, trial: FrozenTrial) -> str:
    """How a trial ended, for the log."""
    what = f"Trial {trial.number}: "
    if trial.value is not None:
        what += f"{study.metric} {trial.value:.4f} at step {trial.user_attrs['step']}"
    if trial.state == TrialState.PRUNED:
        return f"{what}, {trial.user_attrs['reason']}"
    if trial.state == TrialState.FAIL:
        return f"{what}failed: {trial.user_attrs['reason']}"
    best = study.best
    if best.number == trial.number:
        return f"{what}, the best so far"
    return f"{what}; the best is {best.value:.4f} of trial {best.number}"


def write(study: Study, fixed: Mapping[str, str]) -> None:
    """Writes trials.csv, and best.flags once a trial is complete."""
    flags = [one.flag for one in study.space]
    rows = []
    for trial in study.trials:
        reached = trial.user_attrs.get
        rows.append(
            [
                *(trial.number, _STATES[trial.state], trial.value, reached("step")),
                *(reached("steps"), reached("epochs"), reached("seconds")),
                *(trial.params[flag] for flag in flags),
                reached("reason"),
            ]
        )
    header = ["trial", "state", study.metric, "step", "steps", "epochs", "seconds"]
    csv_table.write(study.directory / TRIALS_FILE, [*header, *flags, "reason"], rows)
    if best := study.best:
        about = f"# Trial {best.number}: {study.metric} {best.value:.4f}"
        about += f" at step {best.user_attrs['step']}"
        lines = [about, *space.lines({**fixed, **best.params})]
        files.write_text(study.directory / BEST_FILE, "\n".join(lines) + "\n")


def draw(study: Study) -> list[Path]:
    """Draws what was tried and what it depends on, as far as there is something to be seen."""
    figures = {}
    if any(trial.value is not None for trial in study.trials):
        figures[HISTORY_FILE] = history(study)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len({trial.value for trial in complete}) > 1:
        figures[IMPORTANCE_FILE] = importance(study.importance(), study.metric)
    for name, figure in figures.items():
        plots.write(figure, study.directory / name)
    return [study.directory / name for name in figures]


def history(study: Study) -> Figure:
    """The value of each trial (of a pruned one the last), and the best of those so far."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    marks = {TrialState.COMPLETE: ("o", _BLUE), TrialState.PRUNED: ("x", _ORANGE)}
    for state, (mark, colour) in marks.items():
        ended = [trial for trial in study.trials if trial.state == state]
        numbers, values = [t.number for t in ended], [t.value for t in ended]
        if ended:
            axes.scatter(numbers, values, marker=mark, color=colour, label=_STATES[state])
        if state == TrialState.COMPLETE and ended:
            best = itertools.accumulate(values, lambda a, b: min(a, b, key=study.order))
            axes.step(numbers, list(best), where="post", color=_RED, lw=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"validation {study.metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def importance(shares: Mapping[str, float], metric: str) -> Figure:
    """Bars of `Study.importance`, the largest on top."""
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(shares), list(shares.values()), color=_BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(f"share in the variance of the validation {metric}")
    return figure


def text(study: Study) -> str:
    """The best trials as a table, and where the best flags are."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    counts = [f"{sum(t.state == s for t in study.trials)} {name}" for s, name in _STATES.items()]
    table = Table(title=Text(f"Best of {len(study.trials)} trials"), title_justify="left")
    for name in ("trial", f"validation {study.metric}", "at step"):
        table.add_column(name, justify="right")
    for one in study.space:
        table.add_column(one.flag, justify="right")
    for trial in sorted(complete, key=lambda trial: study.order(trial.value))[:_SHOWN]:
        drawn = [_short(trial.params[one.flag]) for one in study.space]
        at = str(trial.user_attrs["step"])
        table.add_row(str(trial.number), f"{trial.value:.4f}", at, *drawn)
    console = Console(file=io.StringIO(), width=_WIDEST, color_system=None, highlight=False)
    if complete:
        console.print(table)
    console.print(", ".join(count for count in counts if not count.startswith("0 ")))
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def _short(value: float | str) -> str:
    """A drawn value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
