"""The run directory (--train_dir): one writer, the flags it was made with, and run.json.

run.json says what the weights alone do not: which net, how its input is prepared, what its outputs
mean. Evaluation reads it, so that --checkpoint_path is all it has to be told.
"""

import contextlib
import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from core import files
from core.compat import tf
from core.errors import CheckpointError, FlagError
from datasets.spec import LoadedSplit
from engine import checkpoints

RUN_FILE = "run.json"
FLAGS_FILE = "flags.txt"


@dataclasses.dataclass(frozen=True)
class Run:
    """What is needed to use a run's weights: the first part of run.json."""

    dataset_name: str
    dataset_dir: str  # absolute
    model_name: str
    preprocessing_name: str
    image_size: int  # height and width, pixels
    channels: int  # of the pictures as they are decoded
    use_grayscale: bool
    class_names: tuple[str, ...]  # before labels_offset
    labels_offset: int
    moving_average_decay: float | None
    max_number_of_steps: int | None

    @property
    def num_classes(self) -> int:
        """Outputs of the net."""
        return len(self.class_names) - self.labels_offset


# What the weights depend on: it cannot change while a run goes on.
_FIXED = (
    *("model_name", "preprocessing_name", "image_size", "channels", "use_grayscale"),
    *("class_names", "labels_offset", "moving_average_decay"),
)


def describe(dataset: LoadedSplit, config: Any) -> Run:
    """What run.json will say of a run on that dataset.

    Raises:
        FlagError: --labels_offset leaves no two classes.
    """
    run = Run(
        dataset_name=dataset.name,
        dataset_dir=str(dataset.directory.resolve()),
        model_name=config.model_name,
        preprocessing_name=config.preprocessing_name,
        image_size=config.train_image_size,
        channels=dataset.channels,
        use_grayscale=config.use_grayscale,
        class_names=dataset.class_names,
        labels_offset=config.labels_offset,
        moving_average_decay=config.moving_average_decay,
        max_number_of_steps=config.max_number_of_steps,
    )
    if run.num_classes < 2:
        raise FlagError(
            f"{dataset.num_classes} classes less --labels_offset={config.labels_offset} leave "
            f"{run.num_classes}, need at least 2"
        )
    return run


def finished(config: Any) -> bool:
    """Whether the run has reached --max_number_of_steps; says so if it has."""
    reached = checkpoints.steps(Path(config.train_dir))
    if not (reached and config.max_number_of_steps and reached[-1] >= config.max_number_of_steps):
        return False
    logging.info(
        "Nothing to do: %s is at step %d, --max_number_of_steps is %d.",
        config.train_dir,
        reached[-1],
        config.max_number_of_steps,
    )
    return True


@contextlib.contextmanager
def opened(run: Run, dataset: LoadedSplit, config: Any) -> Iterator[Path]:
    """Holds the run directory while training writes to it, and writes flags.txt and run.json.

    Raises:
        LockedError: another training writes to it.
        FlagError: it holds a run with another net, input or classes.
        MachineError: it cannot be written to.
    """
    directory = files.make_directory(config.train_dir)
    with files.locked(directory):
        files.sweep(directory)
        if checkpoints.steps(directory) and (directory / RUN_FILE).exists():
            _check_same(read(directory), run, directory)
        files.write_text(directory / FLAGS_FILE, _flagfile(config))
        files.write_text(directory / RUN_FILE, _to_json(run, dataset, config))
        yield directory


def read(directory: Path) -> Run | None:
    """What run.json says; None if there is none, as in a run of research/slim.

    Raises:
        CheckpointError: it is damaged.
    """
    path = directory / RUN_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values = {field.name: content[field.name] for field in dataclasses.fields(Run)}
        return Run(**{**values, "class_names": tuple(values["class_names"])})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"damaged: {error!r}", where=str(path)) from None


def _check_same(old: Run, new: Run, directory: Path) -> None:
    for name in _FIXED:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            raise FlagError(
                f"the run was made with {name} {_short(before)}, now it is {_short(now)}",
                where=str(directory / RUN_FILE),
                remedy="pass the same, or another --train_dir",
            )


def _short(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _to_json(run: Run, dataset: LoadedSplit, config: Any) -> str:
    record = {
        "split": dataset.split,
        "samples": dataset.num_samples,
        "sha256": [shard.sha256 for shard in dataset.shards],
    }
    environment = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "inter_op_threads": config.inter_op_threads,
        "intra_op_threads": config.intra_op_threads,
        "git_commit": _git_commit(),
    }
    content = dataclasses.asdict(run) | {
        "seed": config.seed,
        "dataset": record,
        "environment": environment,
        "command": sys.argv,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _git_commit() -> str | None:
    """The commit of the code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()
    return None


def _flagfile(config: Any) -> str:
    """The flags of a run in the form that --flagfile reads; flags without a value are left out."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("given", "debug") or value is None:
            continue
        if isinstance(value, bool):
            lines.append(f"--{'' if value else 'no'}{field.name}")
        else:
            lines.append(f"--{field.name}={value}")
    return "\n".join(lines) + "\n"
