"""Evaluations and comparisons that are killed at every call that changes files."""

import csv
import json
import shutil
from collections.abc import Hashable
from functools import partial
from pathlib import Path

import PIL.Image

from core import files
from engine import checkpoints
from engine.report.report import EXPLANATIONS
from engine.report.tables import RESULTS_FILE
from inference.comparison import writing
from tests.slow.campaign import calls, classification, training
from tests.slow.campaign.processes import COMPARE, EVALUATE, run, seconds
from tests.slow.campaign.trials import Row, Trial

NAMES = {EVALUATE: "evaluation", COMPARE: "comparison"}
_LAST = {EVALUATE: RESULTS_FILE, COMPARE: writing.FILES[-1]}  # file that is written
_TIMED = ("offline.csv", "online.csv")  # tables with times, which are never the same
_ENDINGS = {Path(name).suffix for name in writing.FILES}  # not those of event files


def command(trial: Trial, script: str, directory: Path, older: bool = False) -> list[str]:
    """The command line of a report; the older one has more files."""
    trained = training.reference(trial, training.SMALL).directory
    if script == COMPARE:
        return [
            *(f"--runs={trained},{classification.model(trial)}", f"--output_dir={directory}"),
            *(f"--repeats={int(older)}", "--seconds=0.01"),
        ]
    return [
        f"--checkpoint_path={checkpoints.prefix(trained, 3 if older else training.STEPS)}",
        *(f"--eval_dir={directory}", f"--explain={3 if older else 2}"),
        *("--bootstrap_resamples=100", "--inter_op_threads=1", "--intra_op_threads=1"),
    ]


def undisturbed(trial: Trial, script: str, older: bool = False) -> Path:
    """A directory with a report that nobody has interrupted."""
    name = f"{'older_' * older}{NAMES[script]}"
    return trial.once(name, lambda made: run(trial, script, *command(trial, script, made, older)))


def prepare(trial: Trial, script: str) -> Path:
    """A directory with the older report."""
    directory = trial.directory / "report"
    shutil.copytree(undisturbed(trial, script, older=True), directory)
    return directory


def is_new(trial: Trial, script: str, directory: Path) -> bool:
    """Whether the last file that a report consists of has been written."""
    name = _LAST[script]
    return _digest(directory / name) == _digest(undisturbed(trial, script) / name)


def check_undivided(trial: Trial, script: str, directory: Path, older: bool = True) -> None:
    """After an interruption each file is the older one or the new one, whole.

    Where the last one is new, all are.
    """
    new = undisturbed(trial, script)
    before = undisturbed(trial, script, older=True) if older else trial.directory / "nothing"
    complete = is_new(trial, script, directory)
    for name in sorted(_names(before) | _names(new)):
        path = directory / name
        found = _digest(files.committed(path.parent, path.name))
        old, right = _digest(before / name), _digest(new / name)
        allowed = (right,) if complete else (old, right)
        trial.expect(found in allowed, "lost", f"{name} is {found}")
        trial.checked["new files" if found == right != old else "old files"] += 1
    for path in directory.glob("events.out.tfevents.*"):
        training.check_events(trial, path)


def check_again(trial: Trial, script: str, directory: Path) -> None:
    """A report in the same place is as it is undisturbed, and nothing else is left."""
    run(trial, script, *command(trial, script, directory))
    new = undisturbed(trial, script)
    for name in _names(new):
        same = _digest(directory / name) == _digest(new / name)
        trial.expect(same, "not identical", f"{name}, after reporting again")
        trial.checked["identical"] += same
    more = _names(directory) - _names(new) | _unfinished(directory)
    trial.expect(not more, "left-overs", f"after reporting again: {', '.join(sorted(more))}")


def check_cleared(trial: Trial, directory: Path) -> None:
    """After an interruption that a script has seen, nothing that is half-written is left.

    What it has committed, and the next one moves to its place, is whole.
    """
    half = [name for name in _unfinished(directory) if ".tmp-" in name]
    trial.expect(not half, "left-overs", f"half-written: {', '.join(half)}")


def _unfinished(directory: Path) -> set[str]:
    """What interrupted writers left in a report."""
    left = [*files.unfinished(directory), *files.unfinished(directory / EXPLANATIONS)]
    return {str(path.relative_to(directory)) for path in left}


def _names(directory: Path) -> set[str]:
    found = [*directory.glob("[!.]*"), *(directory / EXPLANATIONS).glob("[!.]*")]
    return {str(path.relative_to(directory)) for path in found if path.suffix in _ENDINGS}


def _digest(path: Path) -> Hashable:
    """What the whole files of a name have in common, be they of slower or faster runs."""
    if not path.exists():
        return "missing"
    try:
        if path.suffix == ".png":
            PIL.Image.open(path).load()
            return "a picture"
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            content.pop("seconds", None)
            return json.dumps(content) if path.name == RESULTS_FILE else tuple(content)
        if path.suffix == ".csv":
            rows = tuple(map(len, csv.reader(text.splitlines()))), text.endswith("\n")
            return rows if path.name in _TIMED else text
        return text.count("\n")
    except (OSError, ValueError, SyntaxError) as error:
        return f"torn: {error}"


def seconds_of_report(trial: Trial, script: str) -> float:
    """How long the older report takes in a fork, if nothing delays it."""
    name = f"older_{NAMES[script]}"
    return seconds(trial, name, script, partial(command, trial, script, older=True))


def killed_at_call(trial: Trial, script: str) -> None:
    """A kill just before a call that changes files: the first, the second, ..."""
    directory = prepare(trial, script)
    undisturbed(trial, script)
    calls.kill_at(trial, script, command(trial, script, directory), directory, trial.number)
    check_undivided(trial, script, directory)
    check_again(trial, script, directory)


ROWS = tuple(
    Row(f"{name}_calls", partial(killed_at_call, script=script)) for script, name in NAMES.items()
)
