"""Exports that are killed: at random moments, and at every call that changes files."""

import shutil
from functools import partial
from pathlib import Path

from inference.export import FORMATS
from tests.slow.campaign import calls, classification
from tests.slow.campaign.processes import CLASSIFY, EXPORT, Script, kill_at_random, run, seconds
from tests.slow.campaign.trials import Row, Trial

NAMES = tuple(FORMATS)


def kind_of(trial: Trial) -> str:
    """The format of a trial: each in turn, and each in turn in a new process."""
    return NAMES[(trial.number // 10 + trial.number) % len(NAMES)]


def path_in(directory: Path, kind: str) -> Path:
    """Where an export of a format stands."""
    return directory / f"7{FORMATS[kind].ending}"


def flags(trial: Trial, kind: str, directory: Path) -> list[str]:
    """The command line of an export."""
    return [
        *(f"--checkpoint_path={classification.model(trial)}", f"--format={kind}"),
        f"--output_file={path_in(directory, kind)}",
    ]


def undisturbed(trial: Trial, kind: str) -> Path:
    """A directory with an export that nobody has interrupted."""
    return trial.once(f"export_{kind}", lambda made: run(trial, EXPORT, *flags(trial, kind, made)))


def table(trial: Trial, kind: str) -> bytes:
    """What that export says of a few pictures."""
    made = trial.once(
        f"table_of_{kind}", lambda made: _classify(trial, kind, undisturbed(trial, kind), made)
    )
    return (made / "predictions.csv").read_bytes()


def _classify(trial: Trial, kind: str, directory: Path, place: Path) -> None:
    export, output = path_in(directory, kind), place / "predictions.csv"
    run(trial, CLASSIFY, *classification.flags(trial, export, classification.FEW, output))


def check_undivided(trial: Trial, kind: str, directory: Path) -> None:
    """After an interruption there is no export, or a complete one."""
    is_there = path_in(directory, kind).exists()
    if is_there:
        _check_predicts(trial, kind, directory)
    trial.checked["complete left" if is_there else "none left"] += 1


def _check_predicts(trial: Trial, kind: str, directory: Path) -> None:
    _classify(trial, kind, directory, trial.directory)
    found = (trial.directory / "predictions.csv").read_bytes()
    trial.expect(found == table(trial, kind), "lost", "the export predicts something else")


def check_again(trial: Trial, kind: str, directory: Path) -> None:
    """An export under the same name, once it is free, is complete, and nothing else is left."""
    path = path_in(directory, kind)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    run(trial, EXPORT, *flags(trial, kind, directory))
    _check_predicts(trial, kind, directory)
    there, expected = ({p.name for p in d.iterdir()} for d in (directory, undisturbed(trial, kind)))
    trial.expect(there >= expected, "lost", f"after exporting again: {expected - there} is missing")
    more = ", ".join(there - expected)
    trial.expect(not more, "left-overs", f"after exporting again: {more}")


def seconds_of_export(trial: Trial, kind: str) -> float:
    """How long an export takes in a fork, if nothing delays it."""
    return seconds(trial, kind, EXPORT, lambda place: flags(trial, kind, place))


def killed_at_random(trial: Trial) -> None:
    """A kill at a random moment of an export, of all formats in turn."""
    kind = kind_of(trial)
    directory = trial.directory / "exports"
    table(trial, kind)

    def begin() -> Script:
        shutil.rmtree(directory, ignore_errors=True)
        return Script(trial, EXPORT, *flags(trial, kind, directory))

    kill_at_random(trial, seconds_of_export(trial, kind), begin)
    check_undivided(trial, kind, directory)
    check_again(trial, kind, directory)


def killed_at_call(trial: Trial, kind: str) -> None:
    """A kill just before a call that changes files: the first, the second, ..."""
    directory = trial.directory / "exports"
    directory.mkdir()
    table(trial, kind)
    calls.kill_at(trial, EXPORT, flags(trial, kind, directory), directory, trial.number)
    check_undivided(trial, kind, directory)
    check_again(trial, kind, directory)


ROWS = (
    Row("export_sigkill", killed_at_random, 50),
    *(Row(f"export_calls_{kind}", partial(killed_at_call, kind=kind)) for kind in NAMES),
)
