"""Studies that are interrupted, and compared with one that never was."""

import csv
import signal
import time
from pathlib import Path

from core import files
from engine import checkpoints, history, tracking
from tests.slow.campaign import calls, conversion, signals, training, validating
from tests.slow.campaign.processes import TUNE, Script, kill_at_random, run, seconds
from tests.slow.campaign.trials import Row, Trial

TRIALS = 3
WAIT = 60.0  # seconds for trainings that see that their study has ended, to save
TABLE, BEST, DATABASE = "trials.csv", "best.flags", "study.db"
_FIGURES = ("history.png", "importance.png")


def flags(trial: Trial, directory: Path) -> list[str]:
    """A study of three short trainings, of which Hyperband stops what is worse than the first."""
    return [
        *(f"--dataset_name={conversion.NAME}", f"--dataset_dir={validating.dataset(trial)}"),
        *("--model_name=lenet", "--train_image_size=8", "--batch_size=4"),
        *(f"--inter_op_threads={training.THREADS}", f"--intra_op_threads={training.THREADS}"),
        *("--validation_split_name=validation", "--validate_every_n_steps=2"),
        *("--max_number_of_steps=8", "--save_interval_steps=2", "--best_metric=loss"),
        *(f"--num_trials={TRIALS}", "--pruner=hyperband", "--seed=1"),
        "--search=learning_rate log 1e-5 1e-2; optimizer choice adam sgd; head_units int 4 8",
        f"--study_dir={directory}",
    ]


def undisturbed(trial: Trial) -> Path:
    """The study that nobody interrupts."""
    return trial.once("study", lambda made: run(trial, TUNE, *flags(trial, made)))


def _rows(directory: Path) -> list[dict[str, str]]:
    """What a study has tried, without how long that took."""
    with (directory / TABLE).open(encoding="utf-8", newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def _check_alone(trial: Trial, directory: Path) -> None:
    """No training outlives its study for longer than it takes to save."""
    deadline = time.monotonic() + WAIT
    while (running := signals.told(directory)) and time.monotonic() < deadline:
        time.sleep(0.1)
    trial.expect(not running, "left-overs", f"processes that go on: {', '.join(running)}")


def _check_again(trial: Trial, directory: Path) -> None:
    """The study goes on to the end of the one that nobody interrupted, and leaves as much."""
    run(trial, TUNE, *flags(trial, directory))
    expected = undisturbed(trial)
    right = _rows(expected)
    alike = {
        TABLE: _rows(directory) == right,
        BEST: (directory / BEST).read_bytes() == (expected / BEST).read_bytes(),
    }
    for number, row in enumerate(right):
        if row["state"] != "complete":  # how far one gets before it is stopped is left to chance
            continue
        name = Path(f"trial_{number:04d}")
        ours, theirs = (place / name / history.FILE for place in (directory, expected))
        alike[str(name / history.FILE)] = ours.read_bytes() == theirs.read_bytes()
        best = [_bests(place / name) for place in (directory, expected)]
        alike[str(name / tracking.BEST)] = best[0] == best[1]
    for what, same in alike.items():
        trial.expect(same, "not identical", f"{what} at the end")
        trial.checked["identical"] += same
    missing = [name for name in _FIGURES if not (directory / name).exists()]
    trial.expect(not missing, "lost", f"missing: {', '.join(missing)}")
    places = [directory, *directory.glob("trial_*"), *directory.glob("trial_*/best")]
    left = [path for place in places for path in files.unfinished(place)]
    left += directory.glob("trial_*/model.ckpt-*")
    left += directory.glob(f"{DATABASE}-*")
    names = ", ".join(str(path.relative_to(directory)) for path in left)
    trial.expect(not left, "left-overs", f"in the study: {names}")
    trial.checked["studies"] += 1


def _bests(directory: Path) -> dict[int, str]:
    best = directory / tracking.BEST
    return {step: training.digest(best, step) for step in checkpoints.steps(best)}


def _life(trial: Trial) -> float:
    """How long a study takes."""
    return seconds(trial, "study", TUNE, lambda place: flags(trial, place), times=1)


def killed_at_random(trial: Trial) -> None:
    """A study that is killed twice, at random moments of its life."""
    undisturbed(trial)
    directory = trial.directory / "study"
    life = _life(trial)
    for share in (1.0, 0.5):  # the second time less is left to do
        kill_at_random(
            trial, share * life, lambda: Script(trial, TUNE, *flags(trial, directory)), again=False
        )
        _check_alone(trial, directory)
    _check_again(trial, directory)


def stopped(trial: Trial) -> None:
    """SIGTERM or SIGINT at a random moment of a study; it waits for its training to save."""
    undisturbed(trial)
    directory = trial.directory / "study"
    number = signals.NUMBERS[trial.number % 2]
    life = _life(trial)
    script = Script(trial, TUNE, *flags(trial, directory))
    script.wait_until(script.listens)
    script.ended(trial.random.uniform(0, life))
    script.signal(number)
    code = script.finish({0, 128 + number, -signal.SIGINT}, 120)
    trial.checked[f"ended with {code}"] += 1
    running = signals.told(directory)
    trial.expect(not running, "left-overs", f"processes that go on: {', '.join(running)}")
    _check_again(trial, directory)


def full(trial: Trial) -> None:
    """The disk is full from the first write of a study beside its trainings on, the second, ..."""
    undisturbed(trial)
    directory = trial.directory / "study"
    directory.mkdir()

    def concerns(call: calls.Call) -> bool:
        return call.fills and "trial_" not in call.path

    script = calls.full_from(
        trial, TUNE, flags(trial, directory), directory, trial.number, concerns
    )
    trial.checked[f"ended with {script.finish({0, 4})}"] += 1
    half = [path.name for path in directory.glob(".tmp-*")]
    trial.expect(not half, "left-overs", f"after a full disk: {', '.join(half)}")
    _check_alone(trial, directory)
    _check_again(trial, directory)


ROWS = (
    Row("tuning_sigkill", killed_at_random, 20),
    Row("tuning_signals", stopped, 10),
    Row("disk_full_tuning", full),
)
