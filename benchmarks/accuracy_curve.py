"""Accuracy against minutes of training, of runs that kept their checkpoints.

    python -m benchmarks.accuracy_curve --runs=runs/a,runs/b [--picture=curve.png]

Every checkpoint is evaluated once. The minutes are those from a run's first step to the checkpoint,
summaries and checkpoints included, as the times in its event files tell; what passed between a stop
and the resumption does not count, nor do steps that were lost by a stop and taken again. A run
needs --keep_checkpoint_max=0, and --save_summaries_steps that goes into --save_interval_steps.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags
from rich.console import Console

import datasets
from benchmarks import machine, report
from core import files, flags, script
from core.errors import CheckpointError, FlagError

_COLUMNS = {"run": "", "step": "d", "minutes": ".2f", "accuracy %": ".2f"}


class Point(NamedTuple):
    """One checkpoint."""

    step: int
    minutes: float  # of training
    accuracy: float  # 0..1


def define_flags(flag_values: absl_flags.FlagValues) -> None:
    """The flags of the curve."""
    group = flags.Group("Curve", flag_values)
    group.string("runs", None, "Run directories, separated by commas.")
    group.string("dataset_split_name", "test", "Which split to evaluate on.")
    group.integer("batch_size", 500, "Pictures per batch of evaluation.", lower=1)
    group.string("output", None, "JSON file to write the points to.")
    group.string("picture", None, "PNG file to draw the curves into; needs matplotlib.")


def minutes_of(events: Sequence[tuple[float, int, bool]]) -> dict[int, float]:
    """Minutes of training until each step that was recorded.

    Args:
        events: (time in seconds, step, whether training started there), in the order of writing.

    Returns:
        {step: minutes}; a step that was taken twice counts as it was taken last.
    """
    found: dict[int, float] = {}
    before, since = 0.0, 0.0
    for time, step, starts in events:
        if starts:
            found = {known: minutes for known, minutes in found.items() if known <= step}
            before, since = found.get(step, 0.0), time
        found[step] = before + (time - since) / 60
    return found


def curve(directory: Path, config: Any) -> Iterator[Point]:
    """Evaluates the checkpoints of a run, the oldest first; that of step 0 is left out.

    Raises:
        CheckpointError: there is none, or its time was not recorded.
    """
    from core.compat import tf
    from engine import checkpoints, evaluation
    from engine import flags as engine_flags

    given = [f"--checkpoint_path={directory}", f"--batch_size={config.batch_size}"]
    given.append(f"--dataset_split_name={config.dataset_split_name}")
    settings = evaluation.settings(flags.parse(engine_flags.define_evaluation, given))
    dataset = datasets.load(settings.dataset_dir, settings.dataset_name, config.dataset_split_name)
    minutes = minutes_of(list(_events(directory)))
    with tf.Graph().as_default():
        evaluator = evaluation.Evaluator(dataset, settings)
        for step in checkpoints.steps(directory):
            if not step:
                continue
            if step not in minutes:
                raise CheckpointError(
                    f"no event tells when step {step} was reached",
                    where=str(directory),
                    remedy="train with --save_summaries_steps that goes into --save_interval_steps",
                )
            result = evaluator.evaluate(checkpoints.prefix(directory, step))
            yield Point(step, minutes[step], result.scores.accuracy)


def _events(directory: Path) -> Iterator[tuple[float, int, bool]]:
    """What `minutes_of` reads, of all event files of a run."""
    from core.compat import tf

    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in tf.train.summary_iterator(str(path)):
            if event.session_log.status == tf.SessionLog.START:
                yield event.wall_time, event.step, True
            elif event.HasField("summary"):
                yield event.wall_time, event.step, False


def draw(curves: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Draws the curves as a PNG file."""
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        minutes, accuracy = [p.minutes for p in points], [100 * p.accuracy for p in points]
        (line,) = axes.plot(minutes, accuracy, marker="o", markersize=3)
        label = f"{name}: {accuracy[-1]:.1f} %"
        axes.annotate(label, (minutes[-1], accuracy[-1]), (4, 4), textcoords="offset points",
                      color=line.get_color(), ha="right", va="bottom")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(y=0.1)  # room for the labels
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("top-1 accuracy, %")
    axes.grid(alpha=0.3)
    with files.atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=120)


def main(config: Any) -> None:
    """Evaluates, prints the table, writes JSON and picture."""
    directories = [Path(name) for name in (config.runs or "").split(",") if name]
    if not directories:
        raise FlagError("--runs names nothing", remedy="pass run directories")
    if config.picture and not importlib.util.find_spec("matplotlib"):
        raise FlagError(
            "--picture needs matplotlib, which is not installed",
            remedy="pip install -c constraints.txt -e '.[bench]'",
        )
    found = report.Report(machine.facts(), {"split": config.dataset_split_name})
    section = found.section("curve", f"Accuracy on the {config.dataset_split_name} split", _COLUMNS)
    curves: dict[str, list[Point]] = {}
    for directory in directories:
        for point in curve(directory, config):
            curves.setdefault(directory.name, []).append(point)
            section.add(directory.name, point.step, point.minutes, 100 * point.accuracy)
    found.print(Console(width=None if sys.stdout.isatty() else report.WIDTH))
    if config.output:
        files.write_text(config.output, found.to_json())
    if config.picture:
        draw(curves, Path(config.picture))


if __name__ == "__main__":
    script.run(main, define_flags, __doc__)
