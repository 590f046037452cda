"""Conversions that are killed: at random moments, and at every call that changes files."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image

import datasets
from core import files
from core.errors import DataError
from datasets.spec import MANIFEST
from tests.slow.campaign import calls
from tests.slow.campaign.processes import CONVERT, Script, kill_at_random, run, seconds
from tests.slow.campaign.trials import Row, Trial

NAME = "tiny"
PICTURES = 60


def pictures(trial: Trial) -> Path:
    """A folder of small pictures, two thirds PNG and one third JPEG, in three classes."""

    def make(directory: Path) -> None:
        noise = np.random.RandomState(0)
        for number in range(PICTURES):
            label = number % 3
            pixels = noise.randint(0, 128, (16, 12, 3)).astype(np.uint8)
            pixels[..., label] += 128
            folder = directory / ("red", "green", "blue")[label]
            folder.mkdir(exist_ok=True)
            ending = "jpg" if number % 9 < 3 else "png"
            PIL.Image.fromarray(pixels).save(folder / f"{number}.{ending}")

    return trial.once("pictures", make)


def pictures_and_a_bad_one(trial: Trial) -> Path:
    """The same and a file that is no picture, so that a conversion lists it in skipped.csv."""

    def make(directory: Path) -> None:
        for path in pictures(trial).glob("*/*"):
            (directory / path.parent.name).mkdir(exist_ok=True)
            (directory / path.parent.name / path.name).hardlink_to(path)
        (directory / "red" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")

    return trial.once("pictures_and_a_bad_one", make)


def new_flags(trial: Trial, directory: Path) -> list[str]:
    """The conversion that is killed: with skipped.csv, over whatever is there."""
    return [
        *(f"--dataset_name={NAME}", f"--image_dir={pictures_and_a_bad_one(trial)}"),
        *("--on_bad_image=skip", "--max_bad_fraction=0.5", "--num_shards=2", "--overwrite"),
        f"--dataset_dir={directory}",
    ]


def old_flags(trial: Trial, directory: Path) -> list[str]:
    """A conversion that differs from `new_flags` in the names and the contents of the files."""
    return [
        *(f"--dataset_name={NAME}", f"--image_dir={pictures(trial)}", "--num_shards=3"),
        *("--seed=1", f"--dataset_dir={directory}"),
    ]


def new_dataset(trial: Trial) -> Path:
    """What `new_flags` writes if nobody interrupts it."""
    return trial.once("new_dataset", lambda made: run(trial, CONVERT, *new_flags(trial, made)))


def old_dataset(trial: Trial) -> Path:
    """What `old_flags` writes; also the dataset that others train on."""
    return trial.once("old_dataset", lambda made: run(trial, CONVERT, *old_flags(trial, made)))


def contents(directory: Path) -> dict[str, bytes]:
    """The files of a dataset, left-overs among them."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".lock"}


def prepare(trial: Trial, older: bool) -> Path:
    """A directory to convert into, with an older dataset in it or empty."""
    directory = trial.directory / "data"
    directory.mkdir()
    if older:
        for name, content in contents(old_dataset(trial)).items():
            (directory / name).write_bytes(content)
    return directory


def check_undivided(trial: Trial, directory: Path, older: bool) -> None:
    """After an interruption the old dataset is there or the new one, whole; or none, if new."""

    def is_there(expected: dict[str, bytes]) -> bool:
        try:
            committed = {name: files.committed(directory, name).read_bytes() for name in expected}
        except FileNotFoundError:
            return False
        return committed == expected

    manifest = files.committed(directory, MANIFEST)
    found = "none"
    if manifest.exists():
        states = {"old": contents(old_dataset(trial)), "new": contents(new_dataset(trial))}
        found = next((name for name in states if is_there(states[name])), "torn")
    try:
        for split in ("train", "test"):
            datasets.load(directory, NAME, split)
    except DataError as error:
        trial.expect(found == "none", "lost", f"the {found} dataset cannot be loaded: {error}")
    else:
        trial.expect(found != "none", "lost", "a dataset can be loaded that is not complete")
    allowed = ("old", "new") if older else ("none", "new")
    trial.expect(found in allowed, "lost", f"the dataset that is left is {found}")
    trial.checked[f"{found} left"] += 1


def check_again(trial: Trial, directory: Path) -> None:
    """Converting again gives what an uninterrupted conversion gives, and nothing else is left."""
    run(trial, CONVERT, *new_flags(trial, directory))
    there, expected = contents(directory), contents(new_dataset(trial))
    differ = [name for name in expected if there.get(name) != expected[name]]
    trial.expect(not differ, "not identical", f"after converting again: {', '.join(differ)}")
    more = sorted(there.keys() - expected.keys())
    trial.expect(not more, "left-overs", f"after converting again: {', '.join(more)}")
    trial.checked["identical"] += not differ


def seconds_of_conversion(trial: Trial) -> float:
    """How long the conversion takes in a fork, if nothing delays it."""
    new_dataset(trial)
    return seconds(trial, "conversion", CONVERT, lambda place: new_flags(trial, place))


def killed_at_random(trial: Trial) -> None:
    """A kill at a random moment of a conversion."""
    older = trial.number % 2 == 1
    directory = trial.directory / "data"

    def begin() -> Script:
        shutil.rmtree(directory, ignore_errors=True)
        return Script(trial, CONVERT, *new_flags(trial, prepare(trial, older)))

    kill_at_random(trial, seconds_of_conversion(trial), begin)
    check_undivided(trial, directory, older)
    check_again(trial, directory)


def killed_at_call(trial: Trial, older: bool) -> None:
    """A kill just before a call that changes files: the first, the second, ..."""
    directory = prepare(trial, older)
    new_dataset(trial), old_dataset(trial)
    calls.kill_at(trial, CONVERT, new_flags(trial, directory), directory, trial.number)
    check_undivided(trial, directory, older)
    check_again(trial, directory)


ROWS = (
    Row("conversion_sigkill", killed_at_random, 100),
    Row("conversion_calls_new", lambda trial: killed_at_call(trial, older=False)),
    Row("conversion_calls_over", lambda trial: killed_at_call(trial, older=True)),
)
