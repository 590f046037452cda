"""Training runs that validate, with all that fine-tuning on few pictures takes, interrupted.

What each of them is given is drawn at random: when it validates and what follows from that, how
its classes are balanced, its pictures distorted and mixed, which of its layers are trained when.
"""

import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

from engine import checkpoints, curves, history, tracking
from engine.flags import OPTIMIZERS
from engine.flags.optimizer import SCHEDULES
from engine.flags.validation import METRICS
from tests.slow.campaign import calls, conversion, training
from tests.slow.campaign.processes import CONVERT, TRAIN, Script, run
from tests.slow.campaign.trials import Failed, Row, Trial

STEPS, INTERVAL, KEPT = 12, training.INTERVAL, training.KEPT
KILLS = 3  # per run
SIZES = {"lenet": 8, "cifarnet": 16, "mobilenet_v1_025": 16}
WEIGHTS = "red:0.5\ngreen:2\nblue:3\n"
_OWN = (history.FILE, curves.FILE, tracking.BEST, tracking.VALIDATION)
_DISTORTIONS = (
    *("--rotation_degrees=30", "--zoom_range=0.2", "--shift_fraction=0.1", "--flip_left_right"),
    *("--flip_up_down", "--brightness_range=0.2", "--contrast_range=0.3", "--saturation_range=0.3"),
    *("--hue_range=0.1", "--erasing_probability=0.5", "--cutout_fraction=0.3"),
    *("--randaugment_layers=2", "--norecipe_augmentation"),
)


def dataset(trial: Trial) -> Path:
    """Few pictures in three classes, of which one has most, with a validation split."""

    def make(directory: Path) -> None:
        chosen = trial.directory / "few"
        for name, count in (("red", 20), ("green", 9), ("blue", 7)):
            (chosen / name).mkdir(parents=True)
            for path in sorted((conversion.pictures(trial) / name).iterdir())[:count]:
                shutil.copy(path, chosen / name)
        run(
            *(trial, CONVERT, f"--dataset_name={conversion.NAME}", f"--image_dir={chosen}"),
            *("--num_shards=2", "--validation_fraction=0.3", "--test_fraction=0.1"),
            f"--dataset_dir={directory}",
        )

    return trial.once("few_pictures", make)


def weights(trial: Trial) -> Path:
    """A file of --class_weights."""
    made = trial.once("weights", lambda place: (place / "weights.txt").write_text(WEIGHTS))
    return made / "weights.txt"


def _of_a_net(trial: Trial, net: str) -> list[str]:
    return [
        *(f"--dataset_name={conversion.NAME}", f"--dataset_dir={dataset(trial)}"),
        *(f"--model_name={net}", f"--train_image_size={SIZES[net]}", "--batch_size=4"),
        *(f"--inter_op_threads={training.THREADS}", f"--intra_op_threads={training.THREADS}"),
        *("--num_preprocessing_threads=2", "--log_every_n_steps=1", "--save_summaries_steps=2"),
    ]


def pretrained(trial: Trial, net: str) -> Path:
    """Another run of the net, to start from."""
    return trial.once(
        f"pretrained-{net}",
        lambda made: run(
            trial, TRAIN, *_of_a_net(trial, net), "--max_number_of_steps=2", f"--train_dir={made}"
        ),
    )


def drawn(trial: Trial) -> list[str]:
    """The flags of a run, without those that say where it is kept and how often it is saved."""
    chance = trial.random
    net = chance.choice(tuple(SIZES))
    accumulated = chance.choice((1, 1, 2, 3))
    line = [*_of_a_net(trial, net), f"--accumulate_steps={accumulated}"]
    line += [f"--optimizer={chance.choice(OPTIMIZERS)}", "--learning_rate=0.003"]
    line += _validation(chance) + _imbalance(trial)
    line += chance.sample(_DISTORTIONS, chance.randrange(4))
    line += [f"--{name}_alpha=0.5" for name in ("mixup", "cutmix") if chance.random() < 0.3]
    if chance.random() < 0.5:
        line += ["--head_units=8", "--head_dropout=0.3"]
    if chance.random() < 0.3:
        line += ["--layer_decay=0.7"]
    if chance.random() < 0.2:
        line += ["--moving_average_decay=0.9"]
    if chance.random() < 0.6:
        line += [f"--checkpoint_path={pretrained(trial, net)}"]
        line += _two_phases(chance, accumulated)
        if net.startswith("mobilenet") and chance.random() < 0.5:
            line += ["--freeze_batch_norm"]
    return line


def _validation(chance: random.Random) -> list[str]:
    line = ["--validation_split_name=validation", f"--best_metric={chance.choice(METRICS)}"]
    if chance.random() < 0.6:
        line += [f"--validate_every_n_steps={chance.randint(1, 5)}"]
    elif chance.random() < 0.7:
        line += [f"--validate_every_n_epochs={chance.choice((0.3, 0.5, 0.75))}"]
    schedule = chance.choice((*SCHEDULES, *["plateau"] * 4))
    line += [f"--learning_rate_decay_type={schedule}"]
    if schedule == "plateau":
        line += [f"--plateau_patience={chance.randint(1, 2)}", "--plateau_factor=0.5"]
    if chance.random() < 0.4:
        line += [f"--early_stopping_patience={chance.randint(1, 4)}"]
        line += [f"--early_stopping_min_delta={chance.choice((0, 0.01, 0.1))}"]
    return line


def _imbalance(trial: Trial) -> list[str]:
    chance = trial.random
    line = ["--focal_gamma=2"] if chance.random() < 0.4 else []
    file = f"--class_weights={weights(trial)}"
    balanced = ["--class_weights=balanced"]
    return line + chance.choice(([], balanced, [file], ["--oversample"], ["--oversample", file]))


def _two_phases(chance: random.Random, accumulated: int) -> list[str]:
    if chance.random() < 0.7:
        line = [f"--head_only_steps={accumulated * chance.randint(1, 6 // accumulated)}"]
        line += ["--finetune_learning_rate=0.001"] * (chance.random() < 0.5)
    else:
        line = []
    if chance.random() < 0.5:
        line += [f"--unfreeze_last_n_layers={chance.randrange(4)}"]
    return line


class End(NamedTuple):
    """What a run has come to."""

    step: int
    digest: str
    best: list[tuple[int, str]]  # step and digest of what is in best/
    history: bytes
    curves: bytes

    @classmethod
    def of(cls, directory: Path) -> "End":
        """What is in a run directory."""
        step = max(checkpoints.steps(directory))
        best = directory / tracking.BEST
        return cls(
            step,
            training.digest(directory, step),
            [(one, training.digest(best, one)) for one in checkpoints.steps(best)],
            *((directory / name).read_bytes() for name in (history.FILE, curves.FILE)),
        )


def _weights_digest(directory: Path, step: int) -> str:
    return training.digest(directory, step, without=checkpoints.HISTORY)


class Subject:
    """A run that is interrupted, and the same that is not.

    Args:
        trial: whose they are.
        line: the flags that `drawn` gives.
        steps: --max_number_of_steps.
        interval: steps between two checkpoints of the run that is interrupted.
    """

    def __init__(
        self, trial: Trial, line: list[str], steps: int = STEPS, interval: int = INTERVAL
    ) -> None:
        self._trial, self._line, self._steps = trial, line, steps
        self.directory = trial.directory / "run"
        self.command = self.flags(self.directory, interval, KEPT)

    def flags(self, directory: Path, interval: int, keep: int) -> list[str]:
        """The command line of a run."""
        return [
            *(*self._line, f"--max_number_of_steps={self._steps}"),
            *(f"--save_interval_steps={interval}", f"--keep_checkpoint_max={keep}"),
            f"--train_dir={directory}",
        ]

    def uninterrupted(self, directory: Path) -> training.Reference:
        """Runs it where nobody interrupts it, and saves each step."""
        started = time.monotonic()
        Script(self._trial, TRAIN, *self.flags(directory, 1, 0), cold=False).finish({0})
        seconds = time.monotonic() - started
        steps = checkpoints.steps(directory)
        digests = {step: training.digest(directory, step) for step in steps}
        return training.Reference(directory, digests, seconds)

    def check_end(self, expected: Path, signalled_at: int | None = None) -> None:
        """After the run has come to its end: it is the one that nobody interrupted.

        Args:
            expected: that one's directory.
            signalled_at: newest step that a signal has had saved. If it is the last one, its
                checkpoint may not know of its validation, which comes when the run goes on.
        """
        trial, directory = self._trial, self.directory
        try:
            found, right = End.of(directory), End.of(expected)
        except (OSError, ValueError) as error:
            raise Failed("lost", f"at the end: {error}") from error
        if signalled_at == found.step == right.step:
            found = found._replace(digest=_weights_digest(directory, found.step))
            right = right._replace(digest=_weights_digest(expected, right.step))
        for name, value, wanted in zip(End._fields, found, right, strict=True):
            same = trial.expect(value == wanted, "not identical", f"{name} at the end")
            trial.checked["identical"] += same
        kept = checkpoints.steps(directory)
        trial.expect(len(kept) <= KEPT, "left-overs", f"checkpoints {kept}")
        self._check_names()
        trial.checked["runs"] += 1

    def _check_names(self) -> None:
        """Nothing is in the directory and in those inside it that should not be."""
        inside = [self.directory / name for name in (tracking.BEST, tracking.VALIDATION)]
        left = [path for place in inside for path in place.iterdir()]
        left += [path for path in self.directory.iterdir() if path.name not in _OWN]
        left = [path for path in left if not training.EXPECTED.fullmatch(path.name)]
        names = ", ".join(str(path.relative_to(self.directory)) for path in left)
        self._trial.expect(not left, "left-overs", f"in the run directory: {names}")
        for path in inside[1].iterdir():
            training.check_events(self._trial, path)


def killed_at_random(trial: Trial) -> None:
    """A run that is killed again and again, at random moments."""
    subject = Subject(trial, drawn(trial))
    expected = subject.uninterrupted(trial.directory / "expected")
    watched = training.Watched(trial, expected, subject.directory)
    for _ in range(KILLS):
        script = Script(trial, TRAIN, *subject.command)
        training.wait_for_a_moment(trial, script, expected, watched.newest)
        trial.checked["kills"] += script.kill()
        watched.check(script)
    watched.check(run(trial, TRAIN, *subject.command))
    subject.check_end(expected.directory)


def stopped(trial: Trial) -> None:
    """A run that is stopped twice by SIGTERM or SIGINT and goes on."""
    subject = Subject(trial, drawn(trial))
    expected = subject.uninterrupted(trial.directory / "expected")
    alike = {step: _weights_digest(expected.directory, step) for step in expected.digests}
    watched = training.Watched(
        trial, expected._replace(digests=alike), subject.directory, _weights_digest
    )
    last = None
    for _ in range(2):
        number = trial.random.choice((signal.SIGTERM, signal.SIGINT))
        script = Script(trial, TRAIN, *subject.command)
        script.wait_until(script.listens)
        training.wait_for_a_moment(trial, script, expected, watched.newest)
        script.signal(number)
        code = script.finish({0, 128 + number}, 60)
        trial.checked[f"ended with {code}"] += 1
        watched.check(script)
        steps = training.logged(script)
        if code and steps:
            last = steps[-1]
            what = f"step {last} was logged, {watched.newest} is saved"
            trial.expect(watched.newest == last, "lost", what)
    watched.check(run(trial, TRAIN, *subject.command))
    subject.check_end(expected.directory, last)


_FIXED = ("--optimizer=adam", "--learning_rate=0.003", "--best_metric=loss", "--head_units=8")


def _begun(trial: Trial) -> tuple[Subject, Path]:
    """A run of eight steps that has taken four, and the directory of one that took them all.

    It validates at every second, saves then, and the loss is the best each time.
    """
    validate = ["--validation_split_name=validation", "--validate_every_n_steps=2"]
    line = [*_of_a_net(trial, "lenet"), *_FIXED, *validate]
    subject, half = (Subject(trial, line, steps, 2) for steps in (8, 4))
    expected = trial.once(
        "validating", lambda made: run(trial, TRAIN, *subject.flags(made, 2, KEPT))
    )
    before = trial.once(
        "validating_half", lambda made: run(trial, TRAIN, *half.flags(made, 2, KEPT))
    )
    shutil.copytree(before, subject.directory)
    return subject, expected


def killed_at_call(trial: Trial) -> None:
    """A kill just before a call that changes files, in a run that goes on from a checkpoint."""
    subject, expected = _begun(trial)
    calls.kill_at(trial, TRAIN, subject.command, subject.directory, trial.number)
    run(trial, TRAIN, *subject.command)
    subject.check_end(expected)


def full(trial: Trial) -> None:
    """The disk is full from the first write of a run that goes on, from the second, ..."""
    subject, expected = _begun(trial)
    script = calls.full_from(trial, TRAIN, subject.command, subject.directory, trial.number)
    code = script.finish({0, 4})
    trial.checked[f"ended with {code}"] += 1
    places = (subject.directory, subject.directory / tracking.BEST)
    # What is committed, the next run moves to its place.
    half = [path.name for place in places for path in place.glob(".tmp-*")]
    trial.expect(not half, "left-overs", f"after a full disk: {', '.join(half)}")
    run(trial, TRAIN, *subject.command)
    subject.check_end(expected)


ROWS = (
    Row("validating_sigkill", killed_at_random, 40),
    Row("validating_signals", stopped, 30),
    Row("validating_calls", killed_at_call),
    Row("disk_full_validating", full),
)
