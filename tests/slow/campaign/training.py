"""Training runs that are killed and resumed, and compared with ones that never were."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from core.compat import tf
from engine import checkpoints
from engine.flags import OPTIMIZERS
from tests.slow.campaign import calls, conversion
from tests.slow.campaign.processes import COLD_SECONDS, TRAIN, Script, run
from tests.slow.campaign.trials import Failed, Row, Trial

STEPS, INTERVAL, KEPT = 10, 3, 2
THREADS = 2  # of TensorFlow: more than one, since their interplay must not show in the result
SAVED = (0, 3, 6, 9, 10)
KILLS = 5  # per run
RUNS = 42  # six nets by seven optimizers: each with each
_STEP = re.compile(r"global step (\d+): ")
# Half of the runs are of a small net, the others of the three that people use.
NETS = ("cifarnet", "mobilenet_v1", "cifarnet", "inception_v1", "cifarnet", "resnet_v1_50")
SIZES = {"cifarnet": 16, "mobilenet_v1": 32, "inception_v1": 32, "resnet_v1_50": 32}
EXPECTED = re.compile(
    r"\.lock|checkpoint|flags\.txt|run\.json|graph\.pbtxt|events\.out\.tfevents\..*"
    r"|model\.ckpt-\d+\.(index|meta|sha256|data-00000-of-00001)"
)


class Setting(NamedTuple):
    """What is trained; all augment their pictures, and all but ResNet have dropout."""

    net: str
    optimizer: str


SMALL = Setting("cifarnet", "momentum")


def flags(
    trial: Trial, setting: Setting, directory: Path, keep: int = KEPT, every: int = INTERVAL
) -> list[str]:
    """The command line of a run that saves every so many steps."""
    return [
        *(f"--dataset_name={conversion.NAME}", f"--dataset_dir={conversion.old_dataset(trial)}"),
        *(f"--model_name={setting.net}", f"--train_image_size={SIZES[setting.net]}"),
        *(f"--optimizer={setting.optimizer}", "--learning_rate=0.001", "--batch_size=4"),
        *(f"--inter_op_threads={THREADS}", f"--intra_op_threads={THREADS}"),
        "--num_preprocessing_threads=2",
        *(f"--max_number_of_steps={STEPS}", f"--save_interval_steps={every}"),
        *("--save_summaries_steps=2", "--log_every_n_steps=1", f"--keep_checkpoint_max={keep}"),
        f"--train_dir={directory}",
    ]


def digest(directory: Path, step: int, without: str | None = None) -> str:
    """SHA-256 over the names and bits of all variables of a checkpoint, or of all but one.

    Raises:
        Failed: it cannot be read.
    """
    total = hashlib.sha256()
    try:
        reader = tf.train.load_checkpoint(checkpoints.prefix(directory, step))
        for name in sorted(reader.get_variable_to_shape_map().keys() - {without}):
            value = reader.get_tensor(name)
            total.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    except (tf.errors.OpError, ValueError) as error:
        raise Failed("lost", f"checkpoint {step} cannot be read: {error}") from error
    return total.hexdigest()


class Reference(NamedTuple):
    """An uninterrupted run."""

    directory: Path  # that of SMALL has all its checkpoints, others have none
    digests: dict[int, str]  # by step
    seconds: float  # it took, in a fork


def reference(trial: Trial, setting: Setting) -> Reference:
    """The uninterrupted run of a setting, which is made once."""

    def make(directory: Path) -> None:
        every = 1 if setting == SMALL else INTERVAL
        command = flags(trial, setting, directory, keep=0, every=every)
        started = time.monotonic()
        Script(trial, TRAIN, *command, cold=False).finish({0})
        seconds = time.monotonic() - started
        digests = {step: digest(directory, step) for step in checkpoints.steps(directory)}
        for path in directory.glob("model.ckpt-*") if setting != SMALL else ():
            path.unlink()
        (directory / "reference.json").write_text(json.dumps([digests, seconds]))

    directory = trial.once("-".join(setting), make)
    digests, seconds = json.loads((directory / "reference.json").read_text())
    return Reference(directory, {int(step): value for step, value in digests.items()}, seconds)


def logged(script: Script) -> list[int]:
    """The steps in a script's log, in order."""
    return [int(step) for step in _STEP.findall(script.output())]


class Watched:
    """A run directory that is looked at between the processes that write to it.

    Args:
        trial: whose it is.
        expected: the run that it is to equal.
        directory: the run directory.
        digested: what is to equal the reference's digest of a checkpoint.
    """

    def __init__(
        self,
        trial: Trial,
        expected: Reference,
        directory: Path,
        digested: Callable[[Path, int], str] = digest,
    ) -> None:
        self._trial, self._expected, self.directory = trial, expected, directory
        self._digested = digested
        self._before: list[int] = checkpoints.steps(directory)
        self._reached = 0

    @property
    def newest(self) -> int:
        """The step of the newest checkpoint, 0 if there is none."""
        return max(self._before, default=0)

    def check(self, script: Script) -> None:
        """After a process ended, however: nothing is lost, torn or wrong."""
        trial = self._trial
        steps = checkpoints.steps(self.directory)
        for step in steps:
            right = self._digested(self.directory, step) == self._expected.digests.get(step)
            trial.expect(right, "not identical", f"checkpoint {step} is not the reference's")
            trial.checked["checkpoints"] += 1
        for step in set(self._before) - set(steps):
            newer = [one for one in steps if one > step]
            trial.expect(len(newer) >= KEPT, "lost", f"checkpoint {step} is gone, {steps} are left")
        seen = logged(script)
        if seen and self._reached:
            redone = self._reached - seen[0] + 1
            trial.expect(redone <= INTERVAL, "lost", f"{redone} steps were redone")
        self._reached = max(seen, default=self._reached)
        self._before = steps
        for path in self.directory.glob("events.out.tfevents.*"):
            check_events(trial, path)

    def check_end(self, *more: str) -> None:
        """After the run has come to its end.

        Args:
            more: names that the directory may hold beside the usual.
        """
        trial = self._trial
        steps = checkpoints.steps(self.directory)
        kept = list(SAVED[-KEPT:])
        trial.expect(steps[-KEPT:] == kept, "lost", f"checkpoints {steps} at the end, not {kept}")
        older = [f"checkpoint {step}" for step in steps[:-KEPT]]
        names = sorted(path.name for path in self.directory.iterdir() if path.name not in more)
        left = older + [name for name in names if not EXPECTED.fullmatch(name)]
        trial.expect(not left, "left-overs", f"in the run directory: {', '.join(left)}")
        trial.checked["runs"] += 1


def check_events(trial: Trial, path: Path) -> None:
    """An event file can be read, but for a tail that a kill has torn off."""
    try:
        for _ in tf.train.summary_iterator(str(path)):
            pass
    except tf.errors.DataLossError as error:
        torn = "truncated record" in str(error)
        trial.expect(torn, "lost", f"{path.name}: {error}")
    trial.checked["event files"] += 1


def wait_for_a_moment(trial: Trial, script: Script, expected: Reference, done: int = 0) -> None:
    """Waits until a random moment of a run: one of its life, or one soon after a random step.

    The latter because most of a short run is its start.

    Args:
        trial: whose random numbers decide.
        script: the run.
        expected: the same run without an interruption, to tell how long it lives.
        done: the step it begins after.
    """
    if trial.random.random() < 0.5:
        life = expected.seconds + COLD_SECONDS * script.cold
        script.ended(trial.random.uniform(0, life))
        return
    lines = trial.random.randrange(max(1, STEPS - done))
    script.wait_until(lambda: len(logged(script)) >= lines)
    script.ended(trial.random.uniform(0, 0.1))


def killed_at_random(trial: Trial) -> None:
    """A run that is killed again and again, at random moments."""
    setting = Setting(NETS[trial.number % len(NETS)], OPTIMIZERS[trial.number % len(OPTIMIZERS)])
    expected = reference(trial, setting)
    directory = trial.directory / "run"
    watched = Watched(trial, expected, directory)
    kills = 0
    while True:
        script = Script(trial, TRAIN, *flags(trial, setting, directory))
        if kills < KILLS:
            wait_for_a_moment(trial, script, expected, watched.newest)
            killed = script.kill()
        else:
            killed = script.finish({0}) != 0
        watched.check(script)
        if killed:
            kills += 1
            trial.checked["kills"] += 1
            continue
        watched.check_end()
        if kills == KILLS:
            return
        shutil.rmtree(directory)  # it was too quick; once more from the start
        watched = Watched(trial, expected, directory)


def begun(trial: Trial, *saved: int) -> Path:
    """A directory of a run of SMALL that was killed when it had the checkpoints of these steps."""
    expected = reference(trial, SMALL)
    directory = trial.directory / "run"
    directory.mkdir()
    names = [f"model.ckpt-{step}.*" for step in saved]
    for path in (path for name in names for path in expected.directory.glob(name)):
        shutil.copy(path, directory)
    return directory


def killed_at_call(trial: Trial) -> None:
    """A kill just before a call that changes files, in a run that goes on from a checkpoint.

    It saves two more and deletes one.
    """
    directory = begun(trial, 3, 6)
    expected = reference(trial, SMALL)
    watched = Watched(trial, expected, directory)
    command = flags(trial, SMALL, directory)
    calls.kill_at(trial, TRAIN, command, directory, trial.number)
    script = run(trial, TRAIN, *command)
    watched.check(script)
    watched.check_end()


ROWS = (
    Row("training_sigkill", killed_at_random, RUNS, seconds=1800),
    Row("save_calls", killed_at_call),
)
