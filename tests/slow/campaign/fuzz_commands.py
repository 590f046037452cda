"""Garbled command lines: they work, or end with one line of error and the right exit code."""

import random
import re
import resource
import shlex
import signal
import string
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from pathlib import Path

from absl import flags as absl_flags

import classify_images
import compare_models
import download_and_convert_data
import export_inference_graph
import import_keras_weights
import serve_image_classifier
import tune_image_classifier
from core import files
from datasets.spec import MANIFEST, Dataset
from engine import checkpoints, flags
from tests.slow.campaign import conversion, exports, serving, training, validating
from tests.slow.campaign.processes import (
    CLASSIFY,
    COMPARE,
    CONVERT,
    EVALUATE,
    EXPORT,
    IMPORT,
    SERVE,
    TRAIN,
    TUNE,
    Script,
)
from tests.slow.campaign.trials import Row, Trial

CODES = frozenset({0, 2, 3, 4, 5, 6, 7, 8})
STOPPED = 128 + signal.SIGTERM  # a server that has listened
PATIENCE = 120.0
WEIGHTS = "keras.weights.h5"
MEMORY = 20 << 30  # bytes of addresses, stacks of threads among them, that a script may take

_DEFINE = {
    CONVERT: download_and_convert_data.define_flags,
    TRAIN: flags.define_training,
    EVALUATE: flags.define_evaluation,
    CLASSIFY: classify_images.define,
    COMPARE: compare_models.define,
    EXPORT: export_inference_graph.define,
    SERVE: serve_image_classifier.define,
    TUNE: tune_image_classifier.define,
    IMPORT: import_keras_weights.define,
}
# What a script writes to is told first, and in what follows every path is relative: nothing is
# written outside of the trial's directory, whatever is made of the rest.
_WRITTEN = (
    *("--train_dir=", "--eval_dir=", "--checkpoint_path="),
    *("--output=", "--copy_to=", "--output_file=", "--output_dir=", "--study_dir="),
)
# With any value, these have a script run or wait for ever, start processes by the hundred, or write
# beside a checkpoint, as asked.
_OBEYED = (
    *("max_number_of_steps", "eval_interval_secs", "num_trials", "parallel_trials"),
    *("output", "copy_to", "output_file"),
)
# Last, and twice: a flag without its value takes the first.
_SHORT = {
    TRAIN: ["--max_number_of_steps=12"] * 2,
    TUNE: ["--max_number_of_steps=4", "--num_trials=1"] * 2,
    COMPARE: ["--repeats=0"] * 2,
}

_TYPED = {
    "int": ("-1", "0", "1", "2", "7", "1000", "65536", "2147483647", "9" * 18),
    "float": ("-1", "0", "0.5", "1", "1e-300", "1e9", "1e308"),
    "bool": ("true", "false"),
}
_VALUES = (
    *("", "0", "-1", "1", "2", "7", "0.5", "1e9", "1e308", "1e400", "nan", "inf", "0x10", "true"),
    *("2147483647", "2147483648", "9223372036854775807", "9" * 40, "-9223372036854775809"),
    *("garbage", "folder", "missing", "data", "run", "pictures", "x/y", "folder/../folder", "run/"),
    *("run/model.ckpt-9", "run/model.ckpt-9.index", "data/dataset.json", "data/labels.txt"),
    *("/dev/null", "/dev/full", "/proc/self/mem", "closed", "a b", "a,b", ",", "%s%n", "\n", "'"),
    *("ü€\u202e", "\udcff\udcfe", "x" * 300, "x" * 5000, "tiny", "train", "cifarnet", "vgg"),
    *("lenet", "adam", "phase_diagrams", "polynomial", "skip", "CifarNet", "--", "-", "=", "~"),
)
_FLAGFILES = ("garbage", "loop.flags", "folder", "missing", "good.flags", "/dev/null", "closed")


@cache
def _types(script: str) -> dict[str, str]:
    """The type of each flag of a script."""
    defined = absl_flags.FlagValues()
    _DEFINE[script](defined)
    names = (name for name in sorted(defined) if name not in _OBEYED)
    return {name: defined[name].flag_type() for name in names}


def _value(script: str, name: str, chance: random.Random) -> str:
    """A value for a flag, mostly of its type."""
    if name == "flagfile":  # not any: /dev/full would be read until the memory is full
        return chance.choice(_FLAGFILES)
    values = _TYPED.get(_types(script).get(name, ""), _VALUES)
    return chance.choice(values if chance.random() < 0.8 else _VALUES)


def _lay_out(trial: Trial) -> None:
    """What the command lines name, in the directory that they run in."""
    expected = training.reference(trial, training.SMALL)
    directory = conversion.prepare(trial, older=True)
    run = training.begun(trial, 9, training.STEPS)
    (run / "run.json").write_bytes((expected.directory / "run.json").read_bytes())
    trial.expect(directory.name == "data" and run.name == "run", "broken", "other names")
    place = trial.directory
    (place / "pictures").symlink_to(conversion.pictures(trial))
    (place / WEIGHTS).symlink_to(trial.once("keras", _save_keras_weights) / WEIGHTS)
    (place / "folder").mkdir()
    (place / "garbage").write_bytes(trial.random.randbytes(500))
    (place / "closed").write_text("--seed=1\n")
    (place / "closed").chmod(0)
    (place / "loop.flags").write_text("--flagfile=loop.flags\n")
    (place / "good.flags").write_text("--seed=0\n")
    (place / "weights").write_text(validating.WEIGHTS)
    (place / "space").write_text("learning_rate log 1e-5 1e-2\noptimizer choice adam sgd # two\n")


def _save_keras_weights(directory: Path) -> None:
    """In a process of its own: Keras stays out of the one that the scripts are forks of."""
    code = (
        "import keras, sys; keras.applications.MobileNet(weights=None, alpha=0.25, classes=3, "
        "input_shape=(32, 32, 3)).save_weights(sys.argv[1])"
    )
    path = directory / WEIGHTS
    subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)


def _valid(trial: Trial, scripts: Collection[str]) -> tuple[str, list[str]]:
    """One of the scripts and a command line that works."""
    chance = trial.random
    *train, train_dir = training.flags(
        trial, training.SMALL, Path(chance.choice(("run", "new_run")))
    )
    convert = ["--dataset_name=tiny", "--image_dir=pictures", "--dataset_dir=new_data"]
    evaluate = ["--checkpoint_path=run", "--eval_dir=eval", "--dataset_dir=data"]
    classify = ["--output=predictions.csv", "--copy_to=copies", "--checkpoint_path=run"]
    compare = ["--output_dir=comparison", "--dataset_dir=data"]
    small = ["--dataset_dir=data", "--dataset_name=tiny", "--model_name=lenet"]
    small += ["--train_image_size=8", "--batch_size=4", "--validation_split_name=validation"]
    flagged = ["--validate_every_n_steps=5", "--class_weights=weights", "--oversample"]
    flagged += ["--head_units=8", "--head_dropout=0.3", "--accumulate_steps=2", "--focal_gamma=2"]
    flagged += ["--learning_rate_decay_type=plateau", "--early_stopping_patience=2"]
    flagged += ["--cutmix_alpha=1", "--rotation_degrees=20", "--randaugment_layers=1"]
    searched = chance.choice(("--search=learning_rate log 1e-5 1e-2", "--search_file=space"))
    compared = chance.choice(("run", "run,run/model.ckpt-9"))
    nets = ["--random_init=lenet,cifarnet", "--num_classes=3", "--image_size=32"]
    keras = ["--model_name=mobilenet_v1_025", "--num_classes=3", "--image_size=32"]
    kind = chance.choice(exports.NAMES)
    export = exports.path_in(Path("exports"), kind)
    lines = (
        (CONVERT, convert),
        (CONVERT, ["--verify", "--dataset_dir=data"]),
        (TRAIN, [train_dir, *train, "--dataset_dir=data"]),
        (TRAIN, ["--train_dir=new_run", *small, *flagged]),
        (TUNE, ["--study_dir=study", *small, searched]),
        (EVALUATE, evaluate),
        (CLASSIFY, [*classify, f"--images={chance.choice(('pictures', 'pictures/*/1*'))}"]),
        (COMPARE, [*compare, f"--runs={compared}"]),
        (COMPARE, ["--output_dir=comparison", *nets]),
        (EXPORT, [f"--output_file={export}", "--checkpoint_path=run", f"--format={kind}"]),
        (EXPORT, ["--output_file=graph.pb", "--model_name=lenet", "--dataset_name=mnist"]),
        (SERVE, ["--checkpoint_path=run", "--port=0"]),
        (IMPORT, ["--output_dir=imported", f"--weights={WEIGHTS}", *keras]),
    )
    return chance.choice([line for line in lines if line[0] in scripts])


def _garble(line: list[str], script: str, chance: random.Random) -> list[str]:
    """The command line with one thing in it that is odd."""
    name = chance.choice(sorted(_types(script)))
    value = _value(script, name, chance)
    first = sum(one.startswith(_WRITTEN) for one in line)  # they stand at the beginning
    at = chance.randint(first, len(line))
    before, after = line[:at], line[at:]
    match chance.randrange(12):
        case 0:
            unknown = "".join(chance.choices(string.ascii_lowercase, k=8))
            return [*before, f"--{unknown}={value}", *after]
        case 1:
            return [*before, f"--{name}", *after]
        case 2:
            return [*before, value, *after]
        case 3:
            return [*before, f"--flagfile={_value(script, 'flagfile', chance)}", *after]
        case 4 if after:
            return [*before, *after[1:]]
        case 5 if after:
            letters = list(after[0])
            odd = string.ascii_letters + string.digits + "-= ,.\u00fc\udcff"
            letters[chance.randrange(len(letters))] = chance.choice(odd)
            return [*before, "".join(letters), *after[1:]]
        case 6 | 7 if after:
            repeated = after[0].partition("=")[0]
            return [*line, f"{repeated}={_value(script, repeated.strip('-'), chance)}"]
    return [*line, f"--{name}={value}"]


def _limit_memory() -> Callable[[], None]:
    status = Path("/proc/self/status").read_text()
    limit = MEMORY + 1024 * int(re.search(r"VmSize:\s*(\d+)", status)[1])
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _unreadable(directory: Path) -> Iterator[str]:
    """What of the dataset and the run is no longer whole."""
    dataset = Dataset.read(files.committed(directory / "data", MANIFEST))
    for split in dataset.splits.values():
        for shard in split.shards:
            if files.sha256(files.committed(directory / "data", shard.file)) != shard.sha256:
                yield shard.file
    for step in checkpoints.steps(directory / "run"):
        training.digest(directory / "run", step)


def garbled(trial: Trial, scripts: Collection[str] = tuple(_DEFINE)) -> None:
    """One of the scripts with a command line that has one to three odd things in it."""
    _lay_out(trial)
    script, line = _valid(trial, scripts)
    for _ in range(trial.random.choice((1, 1, 2, 3))):
        line = _garble(line, script, trial.random)
    line = [*line, *_SHORT.get(script, [])]
    print(script, shlex.join(line).encode(errors="backslashreplace").decode(), flush=True)
    running = Script(trial, script, *line, before=_limit_memory())
    codes = CODES
    if script == SERVE and running.wait_until(lambda: serving.listens(running)):
        running.signal(signal.SIGTERM)
        codes = {STOPPED}
    trial.checked[f"ended with {running.finish(codes, PATIENCE)}"] += 1
    bad = list(_unreadable(trial.directory))
    trial.expect(not bad, "lost", f"no longer whole: {', '.join(bad)}")


ROWS = (
    Row("command_lines", garbled, 1000),
    Row("training_command_lines", partial(garbled, scripts=(TRAIN, TUNE)), 300),
    Row("import_command_lines", partial(garbled, scripts=(IMPORT,)), 60),
)
