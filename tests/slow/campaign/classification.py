"""Classifications that are killed: at random moments, and at every call that changes files."""

import csv
import io
import shutil
from pathlib import Path

from core import files
from tests.slow.campaign import calls, conversion
from tests.slow.campaign.processes import CLASSIFY, TRAIN, Script, kill_at_random, run, seconds
from tests.slow.campaign.trials import Row, Trial

ALL = "."  # of the album
FEW = "0/*/[3-8].png"  # two of each class
OLDER = b"an older table\n"


def model(trial: Trial) -> Path:
    """A run of a LeNet that has learned the colours of the pictures."""

    def make(directory: Path) -> None:
        run(
            *(trial, TRAIN, f"--train_dir={directory}", f"--dataset_name={conversion.NAME}"),
            *(f"--dataset_dir={conversion.old_dataset(trial)}", "--model_name=lenet"),
            *("--train_image_size=8", "--batch_size=8", "--max_number_of_steps=60"),
            *("--optimizer=adam", "--learning_rate=0.001"),
        )

    return trial.once("model", make)


def album(trial: Trial) -> Path:
    """A folder of 1,220 pictures, 20 of which are bad, so that to classify them takes a while."""

    def make(directory: Path) -> None:
        for path in conversion.pictures_and_a_bad_one(trial).glob("*/*"):
            for copy in range(20):
                folder = directory / str(copy) / path.parent.name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / path.name).hardlink_to(path)

    return trial.once("album", make)


def flags(trial: Trial, source: Path, images: str, output: Path) -> list[str]:
    """The command line that classifies pictures of the album by a run or an export."""
    return [
        *(f"--checkpoint_path={source}", f"--images={album(trial) / images}"),
        *(f"--output={output}", "--batch_size=7", "--allow_errors"),
    ]


def table(trial: Trial, images: str) -> bytes:
    """What the run says of pictures of the album if nobody interrupts it."""

    def make(directory: Path) -> None:
        run(trial, CLASSIFY, *flags(trial, model(trial), images, directory / "predictions.csv"))

    name = "table_of_all" if images == ALL else "table_of_few"
    return (trial.once(name, make) / "predictions.csv").read_bytes()


def command(trial: Trial, images: str, directory: Path, copies: str = "") -> list[str]:
    """The classification that is killed: into a directory, with a folder of copies or without."""
    line = flags(trial, model(trial), images, directory / "predictions.csv")
    return [*line, f"--copy_to={directory / copies}"] if copies else line


def prepare(trial: Trial, older: bool) -> Path:
    """An empty directory, or one with an older table."""
    directory = trial.directory / "predictions"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    if older:
        (directory / "predictions.csv").write_bytes(OLDER)
    return directory


def check_undivided(trial: Trial, directory: Path, images: str, older: bool) -> None:
    """After an interruption the table is what it was or complete, and so is each copy."""
    path = directory / "predictions.csv"
    before = OLDER if older else None
    found = path.read_bytes() if path.exists() else None
    is_new = found == table(trial, images)
    trial.expect(is_new or found == before, "lost", "the table is torn, or not the older one")
    trial.checked["new left" if is_new else "old left" if older else "none left"] += 1
    originals = {path.read_bytes() for path in conversion.pictures(trial).glob("*/*")}
    for path in _copies(directory / "copies"):
        if not path.name.startswith(".tmp-"):
            trial.expect(path.read_bytes() in originals, "lost", f"the copy {path.name} is torn")
            trial.checked["copies"] += 1


def check_again(trial: Trial, directory: Path, images: str) -> None:
    """Classifying again gives what it gives undisturbed, and nothing else is left."""
    run(trial, CLASSIFY, *command(trial, images, directory, "copies_again"))
    expected = table(trial, images)
    is_same = (directory / "predictions.csv").read_bytes() == expected
    trial.expect(is_same, "not identical", "the table, after classifying again")
    trial.checked["identical"] += is_same
    rows = csv.DictReader(io.StringIO(expected.decode(), newline=""))
    wanted = {f"{row['class']}/{row['path']}" for row in rows if row["class"]}
    folder = directory / "copies_again"
    copied = {str(path.relative_to(folder)) for path in _copies(folder)}
    trial.expect(copied == wanted, "lost", "not all is copied after classifying again")
    left = [path.name for path in files.unfinished(directory)]
    trial.expect(not left, "left-overs", f"after classifying again: {', '.join(left)}")


def _copies(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def seconds_of_classification(trial: Trial, copies: str) -> float:
    """How long the classification of all takes in a fork, if nothing delays it."""
    return seconds(
        *(trial, f"classification_{copies}", CLASSIFY),
        lambda place: command(trial, ALL, place, copies),
    )


def killed_at_random(trial: Trial) -> None:
    """A kill at a random moment of a classification, half of them with copies."""
    older, copies = bool(trial.number // 2 % 2), "copies" if trial.number % 2 else ""
    directory = trial.directory / "predictions"
    table(trial, ALL)

    def begin() -> Script:
        return Script(trial, CLASSIFY, *command(trial, ALL, prepare(trial, older), copies))

    kill_at_random(trial, seconds_of_classification(trial, copies), begin)
    check_undivided(trial, directory, ALL, older)
    check_again(trial, directory, ALL)


def killed_at_call(trial: Trial) -> None:
    """A kill just before a call that changes files: the first, the second, ..."""
    directory = prepare(trial, older=True)
    table(trial, FEW)
    line = command(trial, FEW, directory, "copies")
    calls.kill_at(trial, CLASSIFY, line, directory, trial.number)
    check_undivided(trial, directory, FEW, older=True)
    check_again(trial, directory, FEW)


ROWS = (
    Row("classification_sigkill", killed_at_random, 50),
    Row("classification_calls", killed_at_call),
)
