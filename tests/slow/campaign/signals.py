"""SIGTERM and SIGINT at random moments: the step just finished is saved, and nothing is lost."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core import files
from engine import checkpoints
from tests.slow.campaign import classification, conversion, exports, reports, training
from tests.slow.campaign.processes import (
    CLASSIFY,
    COMPARE,
    CONVERT,
    EVALUATE,
    EXPORT,
    TRAIN,
    Script,
    run,
)
from tests.slow.campaign.trials import Row, Trial

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def stopped(trial: Trial) -> None:
    """Of five trials one is a conversion, and one a training that gets a second signal."""
    number = NUMBERS[trial.number % 2]
    kind = (trial.number // 10 + trial.number) % 5
    if kind == 0:
        _conversion_stopped(trial, number)
    else:
        _training_stopped(trial, number, twice=kind == 1)


def _begin(
    trial: Trial,
    name: str,
    arguments: list[str],
    before: Callable[[], None] | None = None,
) -> Script:
    """Starts a script; before it handles signals, the interpreter dies of them as of any."""
    script = Script(trial, name, *arguments, before=before)
    script.wait_until(script.listens)
    return script


def _training_stopped(trial: Trial, number: int, twice: bool) -> None:
    directory = trial.directory / "run"
    expected = training.reference(trial, training.SMALL)
    watched = training.Watched(trial, expected, directory)
    command = training.flags(trial, training.SMALL, directory)
    script = _begin(trial, TRAIN, command)
    training.wait_for_a_moment(trial, script, expected)
    script.signal(number)
    codes = {0, 128 + number}
    if twice:
        script.ended(trial.random.uniform(0, 0.3))
        second = trial.random.choice(NUMBERS)
        script.signal(second)
        codes |= {128 + second, -second}
    code = script.finish(codes, 60)
    watched.check(script)
    steps = training.logged(script)
    if not twice and code and steps:
        newest = max(checkpoints.steps(directory), default=None)
        what = f"step {steps[-1]} was logged, {newest} is saved"
        trial.expect(newest == steps[-1], "lost", what)
    trial.checked[f"ended with {code}"] += 1
    watched.check(run(trial, TRAIN, *command))
    watched.check_end()


def _conversion_stopped(trial: Trial, number: int) -> None:
    older = trial.random.random() < 0.5
    directory = conversion.prepare(trial, older)
    life = conversion.seconds_of_conversion(trial)
    script = _begin(trial, CONVERT, conversion.new_flags(trial, directory))
    _stop(trial, script, number, life, directory)
    conversion.check_undivided(trial, directory, older)
    conversion.check_again(trial, directory)


def _stop(trial: Trial, script: Script, number: int, life: float, directory: Path) -> None:
    """Sends a signal at a random moment of a script's life; it clears away what it began."""
    script.ended(trial.random.uniform(0, life))
    script.signal(number)
    code = script.finish({0, 128 + number}, 60)
    left = [path.name for path in files.unfinished(directory)]
    trial.expect(not left, "left-overs", f"after the signal: {', '.join(left)}")
    trial.checked[f"ended with {code}"] += 1


def inference_stopped(trial: Trial) -> None:
    """Half of the trials are exports, the others classifications."""
    number = NUMBERS[trial.number % 2]
    if trial.number // 2 % 2:
        _export_stopped(trial, number)
    else:
        _classification_stopped(trial, number)


def _export_stopped(trial: Trial, number: int) -> None:
    kind = exports.kind_of(trial)
    directory = trial.directory / "exports"
    directory.mkdir()
    exports.table(trial, kind)
    life = exports.seconds_of_export(trial, kind)
    script = _begin(trial, EXPORT, exports.flags(trial, kind, directory))
    _stop(trial, script, number, life, directory)
    exports.check_undivided(trial, kind, directory)
    exports.check_again(trial, kind, directory)


def _classification_stopped(trial: Trial, number: int) -> None:
    directory = classification.prepare(trial, older=True)
    images = classification.ALL
    classification.table(trial, images)
    life = classification.seconds_of_classification(trial, "copies")
    script = _begin(trial, CLASSIFY, classification.command(trial, images, directory, "copies"))
    _stop(trial, script, number, life, directory)
    classification.check_undivided(trial, directory, images, older=True)
    classification.check_again(trial, directory, images)


def reports_stopped(trial: Trial) -> None:
    """Half of the trials are evaluations, the others comparisons, which start processes."""
    number = NUMBERS[trial.number % 2]
    name = COMPARE if trial.number // 2 % 2 else EVALUATE
    directory = reports.prepare(trial, name)
    scratch = trial.directory / "scratch"
    scratch.mkdir()

    def keep_together() -> None:
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None

    reports.undisturbed(trial, name)
    life = reports.seconds_of_report(trial, name)
    command = reports.command(trial, name, directory, older=name == COMPARE)  # it measures
    script = _begin(trial, name, command, keep_together)
    _stop(trial, script, number, life, directory)
    deadline = time.monotonic() + 10  # one that has just been started sees soon that it is alone
    while (running := told(scratch)) and time.monotonic() < deadline:
        time.sleep(0.1)
    trial.expect(not running, "left-overs", f"processes that go on: {', '.join(running)}")
    left = [path.name for path in scratch.iterdir() if not path.name.startswith("__autograph_")]
    trial.expect(not left, "left-overs", f"temporary files: {', '.join(left)}")
    reports.check_cleared(trial, directory)
    reports.check_undivided(trial, name, directory)
    reports.check_again(trial, name, directory)


def told(name: Path) -> list[str]:
    """The ids of the processes that have a file's name in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if os.fsencode(name) in path.read_bytes():
                found.append(path.parent.name)
    return found


ROWS = (
    Row("signals", stopped, 100),
    Row("inference_signals", inference_stopped, 20),
    Row("report_signals", reports_stopped, 40),
)
