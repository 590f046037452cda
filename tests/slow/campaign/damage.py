"""Single flipped bits and cut files: found, named, and for a checkpoint got over."""

import shutil
from collections.abc import Callable
from pathlib import Path

from core.errors import CheckpointError
from engine import checkpoints
from tests.slow.campaign import classification, conversion, exports, training
from tests.slow.campaign.processes import CLASSIFY, CONVERT, TRAIN, run
from tests.slow.campaign.trials import Row, Trial

Damage = Callable[[Trial, Path], str]  # damages a file at random, and says how
SAVED = (3, 6, 9)  # of the run that is damaged


def _flip(trial: Trial, path: Path) -> str:
    content = bytearray(path.read_bytes())
    at, bit = trial.random.randrange(len(content)), trial.random.randrange(8)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {at} of {path.name} flipped"


def _cut(trial: Trial, path: Path) -> str:
    size = path.stat().st_size
    lost = trial.random.choice((1, 2, 10, trial.random.randint(1, size)))
    path.write_bytes(path.read_bytes()[:-lost])
    return f"{path.name} cut from {size} bytes by {lost}"


def damaged(trial: Trial, damage: Damage) -> None:
    """Half of the trials damage a dataset, the others a run's newest checkpoint."""
    if (trial.number // 10 + trial.number) % 2:
        _dataset_damaged(trial, damage)
    else:
        _checkpoint_damaged(trial, damage)


def _dataset_damaged(trial: Trial, damage: Damage) -> None:
    directory = conversion.prepare(trial, older=True)
    path = trial.random.choice(sorted(directory.iterdir()))
    what = damage(trial, path)
    script = run(trial, CONVERT, "--verify", f"--dataset_dir={directory}", codes=(0, 3))
    if trial.expect(script.code == 3, "lost", f"not noticed: {what}"):
        trial.expect(path.name in script.output(), "lost", f"not named: {what}")
    trial.checked["datasets"] += 1


def _checkpoint_damaged(trial: Trial, damage: Damage) -> None:
    directory = training.begun(trial, *SAVED)
    newest = checkpoints.prefix(directory, SAVED[-1])
    path = trial.random.choice(sorted(directory.glob(f"model.ckpt-{SAVED[-1]}.*")))
    what = damage(trial, path)
    if trial.number % 10 < 8:
        try:
            checkpoints.check_intact(newest)
        except CheckpointError as error:
            trial.expect(path.name in str(error), "lost", f"not named: {what}: {error}")
        else:
            trial.expect(False, "lost", f"not noticed: {what}")
        trial.checked["checkpoints"] += 1
        return
    content = path.read_bytes()
    watched = training.Watched(trial, training.reference(trial, training.SMALL), directory)
    script = run(trial, TRAIN, *training.flags(trial, training.SMALL, directory))
    trial.expect(path.name in script.output(), "lost", f"not named: {what}")
    moved = directory / "corrupt" / path.name
    is_moved = moved.exists() and moved.read_bytes() == content
    trial.expect(is_moved, "lost", f"not moved to corrupt/: {what}")
    watched.check(script)
    watched.check_end("corrupt")


def export_damaged(trial: Trial, damage: Damage) -> None:
    """An export of which any file is damaged, its checksums too, classifies nothing."""
    kind = exports.kind_of(trial)
    directory = trial.directory / "exports"
    shutil.copytree(exports.undisturbed(trial, kind), directory)
    path = trial.random.choice(sorted(path for path in directory.rglob("*") if path.is_file()))
    what = damage(trial, path)
    output = trial.directory / "predictions.csv"
    export = exports.path_in(directory, kind)
    command = classification.flags(trial, export, classification.FEW, output)
    script = run(trial, CLASSIFY, *command, codes=(0, 5))
    if trial.expect(script.code == 5, "lost", f"not noticed: {what}"):
        trial.expect(path.name in script.output(), "lost", f"not named: {what}")
    trial.checked[kind] += 1


ROWS = (
    Row("bit_flips", lambda trial: damaged(trial, _flip), 1000),
    Row("truncations", lambda trial: damaged(trial, _cut), 200),
    Row("export_bit_flips", lambda trial: export_damaged(trial, _flip), 400),
    Row("export_truncations", lambda trial: export_damaged(trial, _cut), 80),
)
