"""Disks that are full: at every write, and at random sizes of the files or of the disk."""

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from core import files
from tests.slow.campaign import calls, classification, conversion, exports, reports, training
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

SUBJECTS = ("training", "conversion", "evaluation", "export", "classification")
CODES = (0, 4)  # 0: nothing that counts was to be written after the disk was full


def _check_cleared(trial: Trial, directory: Path) -> None:
    left = [path.name for path in files.unfinished(directory)]
    trial.expect(not left, "left-overs", f"after a full disk: {', '.join(left)}")


def conversion_full(trial: Trial, older: bool) -> None:
    """The disk is full from the first write of a conversion on, from the second, ..."""
    directory = conversion.prepare(trial, older)
    command = conversion.new_flags(trial, directory)
    script = calls.full_from(trial, CONVERT, command, directory, trial.number)
    _after_conversion(trial, script, directory, older)


def _after_conversion(trial: Trial, script: Script, directory: Path, older: bool) -> None:
    trial.checked[f"ended with {script.finish(CODES)}"] += 1
    _check_cleared(trial, directory)
    conversion.check_undivided(trial, directory, older)


def training_full(trial: Trial) -> None:
    """The disk is full from the first write of a run that goes on, from the second, ..."""
    directory = training.begun(trial, 3, 6)
    watched = training.Watched(trial, training.reference(trial, training.SMALL), directory)
    command = training.flags(trial, training.SMALL, directory)
    script = calls.full_from(trial, TRAIN, command, directory, trial.number)
    _after_training(trial, script, watched)
    watched.check(run(trial, TRAIN, *command))
    watched.check_end()


def _after_training(trial: Trial, script: Script, watched: training.Watched) -> None:
    code = script.finish(CODES)
    trial.checked[f"ended with {code}"] += 1
    watched.check(script)
    _check_cleared(trial, watched.directory)
    if code == 0:
        trial.expect(watched.newest == training.STEPS, "lost", "exit code 0, but not all is saved")


def events_full(trial: Trial) -> None:
    """No event file can be written, from the first write of one on, from the second, ..."""
    directory = trial.directory / "run"
    watched = training.Watched(trial, training.reference(trial, training.SMALL), directory)
    command = training.flags(trial, training.SMALL, directory)

    def concerns(call: calls.Call) -> bool:
        return call.fills and Path(call.path).name.startswith("events.out.tfevents.")

    script = calls.full_from(trial, TRAIN, command, directory, trial.number, concerns)
    script.finish({0})
    told = sum("events.out.tfevents." in line for line in script.output().splitlines())
    trial.expect(told == 1, "exit code", f"{told} warnings about the event file")
    watched.check(script)
    watched.check_end()


def report_full(trial: Trial, name: str) -> None:
    """The disk is full from the first write of an evaluation or comparison on, the second, ..."""
    directory = reports.prepare(trial, name)
    command = reports.command(trial, name, directory)
    reports.undisturbed(trial, name)
    script = calls.full_from(trial, name, command, directory, trial.number)
    _after_report(trial, script, directory, older=True)


def _after_report(trial: Trial, script: Script, directory: Path, older: bool) -> None:
    code = script.finish(CODES)
    trial.checked[f"ended with {code}"] += 1
    whole = code != 0 or reports.is_new(trial, script.name, directory)
    trial.expect(whole, "lost", "exit code 0, but the report is not new")
    reports.check_cleared(trial, directory)
    reports.check_undivided(trial, script.name, directory, older)


def export_full(trial: Trial, kind: str) -> None:
    """The disk is full from the first write of an export on, from the second, ..."""
    directory = trial.directory / "exports"
    directory.mkdir()
    command = exports.flags(trial, kind, directory)
    exports.table(trial, kind)
    script = calls.full_from(trial, EXPORT, command, directory, trial.number)
    _after_export(trial, script, kind, directory)


def _after_export(trial: Trial, script: Script, kind: str, directory: Path) -> None:
    code = script.finish(CODES)
    trial.checked[f"ended with {code}"] += 1
    if code:
        left = [path.name for path in directory.iterdir()]
        trial.expect(not left, "left-overs", f"after a full disk: {', '.join(left)}")
    else:
        exports.check_undivided(trial, kind, directory)


def classification_full(trial: Trial) -> None:
    """The disk is full from the first write of a classification on, from the second, ..."""
    directory = classification.prepare(trial, older=True)
    few = classification.FEW
    command = classification.command(trial, few, directory, "copies")
    classification.table(trial, few)
    script = calls.full_from(trial, CLASSIFY, command, directory, trial.number)
    _after_classification(trial, script, few, directory)


def _after_classification(trial: Trial, script: Script, images: str, directory: Path) -> None:
    trial.checked[f"ended with {script.finish(CODES)}"] += 1
    _check_cleared(trial, directory)
    half = list((directory / "copies").rglob(".tmp-*"))
    trial.expect(not half, "left-overs", f"{len(half)} half-written copies")
    classification.check_undivided(trial, directory, images, older=True)


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes in place of a directory; False if that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def limited(trial: Trial) -> None:
    """Files cannot grow beyond a random size, or the disk has a random size (that needs root)."""
    size = int(10 ** trial.random.uniform(4, 7))
    subject = SUBJECTS[trial.number % len(SUBJECTS)]
    place = trial.directory / "place"
    place.mkdir()
    if trial.number // len(SUBJECTS) % 2:
        with small_disk(place, size) as allowed:
            if allowed:
                _on_small_disk(trial, subject, place, before=None)
                trial.checked["small disks"] += 1
    else:
        limit = (size, resource.RLIM_INFINITY)
        _on_small_disk(
            trial, subject, place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        )
        trial.checked["size limits"] += 1


def _on_small_disk(
    trial: Trial, subject: str, place: Path, before: Callable[[], None] | None
) -> None:
    if subject == "conversion":
        command = conversion.new_flags(trial, place)
        conversion.new_dataset(trial)
        script = Script(trial, CONVERT, *command, before=before)
        _after_conversion(trial, script, place, older=False)
    elif subject == "evaluation":
        reports.undisturbed(trial, EVALUATE)
        command = reports.command(trial, EVALUATE, place)
        script = Script(trial, EVALUATE, *command, before=before)
        _after_report(trial, script, place, older=False)
    elif subject == "export":
        kind = exports.kind_of(trial)
        exports.table(trial, kind)
        command = exports.flags(trial, kind, place)
        _after_export(trial, Script(trial, EXPORT, *command, before=before), kind, place)
    elif subject == "classification":
        (place / "predictions.csv").write_bytes(classification.OLDER)
        images = classification.ALL
        command = classification.command(trial, images, place, "copies")
        classification.table(trial, images)
        script = Script(trial, CLASSIFY, *command, before=before)
        _after_classification(trial, script, images, place)
    else:
        watched = training.Watched(trial, training.reference(trial, training.SMALL), place)
        command = training.flags(trial, training.SMALL, place)
        _after_training(trial, Script(trial, TRAIN, *command, before=before), watched)


ROWS = (
    Row("disk_full_conversion_new", lambda trial: conversion_full(trial, older=False)),
    Row("disk_full_conversion_over", lambda trial: conversion_full(trial, older=True)),
    Row("disk_full_training", training_full),
    Row("disk_full_events", events_full),
    Row("disk_full_evaluation", partial(report_full, name=EVALUATE)),
    Row("disk_full_comparison", partial(report_full, name=COMPARE)),
    Row("disk_full_classification", classification_full),
    *(Row(f"disk_full_export_{kind}", partial(export_full, kind=kind)) for kind in exports.NAMES),
    Row("disk_full_sizes", limited, 200),
)
