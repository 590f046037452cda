"""The run directory (--train_dir): one writer, the flags it was made with, and run.json.

run.json says what the weights alone do not: which net, how its input is prepared, what its outputs
mean. Evaluation reads it, so that --checkpoint_path is all it has to be told.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from core import files, processor
from core.compat import tf
from core.errors import CheckpointError, FlagError
from datasets.spec import LoadedSplit
from engine import (
    checkpoint_writer,
    checkpoints,
    hdf5,
    history,
    imbalance,
    input_pipeline,
    mixed_precision,
    model,
    resumption,
)
from nets.nets_factory import NETS
from preprocessing.preprocessing_factory import PREPROCESSING

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
    depth_multiplier: float | None = None
    stem_stride: int | None = None
    head_units: int = 0  # of the hidden layer of one's own head; 0: the net's own head

    @property
    def num_classes(self) -> int:
        """Outputs of the net."""
        return len(self.class_names) - self.labels_offset


# Flags that have no part in the numbers of a run that goes on. All others have one.
_WITHOUT_EFFECT = {
    *("given", "debug", "master", "train_dir", "dataset_dir", "dataset_name"),
    *("max_number_of_steps", "max_number_of_epochs", "log_every_n_steps", "keep_checkpoint_max"),
    *("early_stopping_patience", "preview_augmentation"),
    *("save_summaries_secs", "save_summaries_steps", "save_interval_secs", "save_interval_steps"),
    *("checkpoint_path", "checkpoint_exclude_scopes", "ignore_missing_vars"),
    *(
        "allow_config_change",
        "allow_dataset_change",
        "num_preprocessing_threads",
        "cache_decoded_images",
    ),
}
# Flags that have one only if the learning rate waits for a plateau.
_OF_VALIDATION = {
    *("validation_split_name", "validate_every_n_steps", "validate_every_n_epochs"),
    *("best_metric", "early_stopping_min_delta", "plateau_patience", "plateau_factor"),
}
_THREADS = ("inter_op_threads", "intra_op_threads")


def settled(dataset: LoadedSplit, config: Any) -> Any:
    """The configuration with what was left to a default filled in.

    The number of steps is that of --max_number_of_epochs, if this is less. Preprocessing and image
    size are those of the net. The numbers of threads, on which the last bits of every sum depend,
    are those of the run that is resumed, or else all cores.
    """
    begun = recorded(Path(config.train_dir)).get("settings", {})
    cores = len(os.sched_getaffinity(0))
    threads = {name: getattr(config, name) or begun.get(name, cores) for name in _THREADS}
    steps = config.max_number_of_steps
    if config.max_number_of_epochs:
        pictures = config.max_number_of_epochs * input_pipeline.epoch_size(dataset, config)
        steps = min(math.ceil(pictures / config.batch_size), steps or sys.maxsize)
    return dataclasses.replace(
        config,
        max_number_of_steps=steps,
        preprocessing_name=config.preprocessing_name or NETS[config.model_name].preprocessing,
        train_image_size=config.train_image_size or model.default_image_size(config.model_name),
        **threads,
    )


def describe(dataset: LoadedSplit, config: Any) -> Run:
    """What run.json will say of a run on that dataset.

    Raises:
        FlagError: --labels_offset leaves no two classes, --batch_size is more than the split, or
            --accumulate_steps more than all steps.
    """
    if config.batch_size > dataset.num_samples:
        raise FlagError(
            f"--batch_size={config.batch_size} is more than the {dataset.num_samples} pictures of "
            f"the {dataset.split} split",
            remedy="lower it",
        )
    steps = config.max_number_of_steps
    if steps and config.accumulate_steps > steps:
        raise FlagError(
            f"--accumulate_steps={config.accumulate_steps} is more than the {steps} steps of the "
            "run, none of which would have new weights",
            remedy="lower it",
        )
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
        depth_multiplier=config.depth_multiplier,
        stem_stride=config.stem_stride,
        head_units=config.head_units,
    )
    check_num_classes(run)
    return run


def check_num_classes(run: Run) -> None:
    """FlagError if --labels_offset leaves no two classes."""
    if run.num_classes < 2:
        raise FlagError(
            f"{len(run.class_names)} classes less --labels_offset={run.labels_offset} leave "
            f"{run.num_classes}, need at least 2"
        )


def finished(config: Any) -> bool:
    """Whether the run has reached --max_number_of_steps, or stopped early; says so if it has.

    Not if something is left to do: a damaged checkpoint to pass over, what a crash left, or a
    validation that a signal put off.
    """
    directory = Path(config.train_dir)
    reached = checkpoints.steps(directory)
    if not (reached and checkpoint_writer.is_tidy(directory, config.keep_checkpoint_max)):
        return False
    newest = checkpoints.prefix(directory, reached[-1])
    last = config.max_number_of_steps
    try:
        if last and reached[-1] >= last:
            why = f"--max_number_of_steps is {last}"
        elif config.early_stopping_patience and history.stopped_early(newest, config):
            why = f"it stopped early, --early_stopping_patience is {config.early_stopping_patience}"
        else:
            return False
        checkpoints.check_intact(newest)
        if not history.is_complete(directory, newest):
            return False
    except CheckpointError:
        return False
    logging.info("Nothing to do: %s is at step %d, %s.", config.train_dir, reached[-1], why)
    return True


@contextlib.contextmanager
def opened(
    run: Run, dataset: LoadedSplit, config: Any, validation: LoadedSplit | None = None
) -> Iterator[Path]:
    """Holds the run directory while training writes to it, and writes flags.txt and run.json.

    Args:
        run: what is trained.
        dataset: what it is trained on.
        config: all settings.
        validation: what it is validated on, if it is.

    Raises:
        LockedError: another training writes to it.
        FlagError: it holds a run with another net, input or classes, or with other settings or
            data, and these are not allowed to change.
        MachineError: it cannot be written to.
    """
    directory = files.make_directory(config.train_dir)
    with files.locked(directory):
        files.sweep(directory)
        content = _content(run, dataset, config, validation)
        reached = checkpoints.steps(directory)
        if reached and (directory / RUN_FILE).exists():
            before, where = recorded(directory), str(directory / RUN_FILE)
            described_there = dataclasses.asdict(described(before, directory))
            resumption.check_same(described_there, dataclasses.asdict(run), where)
            changes = resumption.changes(before, content, config, where)
            resumption.warn_of_another_machine(
                before.get("environment", {}), content["environment"]
            )
            content["changes"] = before.get("changes", [])
            if changes:
                content["changes"].append({"step": reached[-1], **changes})
        files.write_text(directory / FLAGS_FILE, _flagfile(config))
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        files.write_text(directory / RUN_FILE, text)
        yield directory


def place_of(checkpoint_path: str) -> Path:
    """Where the description of a checkpoint stands: its directory, or its HDF5 file."""
    path = Path(checkpoint_path)
    return path if path.is_dir() or hdf5.is_hdf5(checkpoint_path) else path.parent


def read(place: Path) -> Run | None:
    """What run.json says; None if there is none, as in a run of research/slim.

    Args:
        place: a run directory, or a checkpoint that is an HDF5 file.

    Raises:
        CheckpointError: it is damaged.
    """
    content = recorded(place)
    return described(content, place) if content else None


def described(content: dict[str, Any], place: Path) -> Run:
    """The description in the content of run.json.

    Args:
        content: as `recorded` gives it.
        place: where it was found, for the message.

    Raises:
        CheckpointError: something is missing or of another type.
    """
    try:
        values = {
            field.name: content[field.name]
            for field in dataclasses.fields(Run)
            if field.name in content or field.default is dataclasses.MISSING
        }
        return Run(**{**values, "class_names": tuple(values["class_names"])})
    except (KeyError, TypeError) as error:
        raise _damaged(place, error) from None


def check_agrees(config: Any, values: dict[str, Any], place: Path) -> None:
    """FlagError if a flag that was given by hand contradicts a run.

    Args:
        config: read here: the flags that `values` names, and which were given.
        values: what they are in the run.
        place: where the run is described, for the message.
    """
    for name, value in values.items():
        by_hand = getattr(config, name)
        if name in config.given and not _same(name, by_hand, value):
            raise FlagError(
                f"--{name}={by_hand} contradicts the run, which was trained with {value}",
                where=str(place / RUN_FILE if place.is_dir() else place),
                remedy=f"leave --{name} out",
            )


def _same(name: str, by_hand: Any, said: Any) -> bool:
    """Whether two values of a flag mean the same; a preprocessing has several names."""
    if name == "preprocessing_name":
        return PREPROCESSING[by_hand] == PREPROCESSING[said]
    return by_hand == said


def recorded(place: Path) -> dict[str, Any]:
    """The whole content of run.json; empty if there is none. Args and errors as those of `read`."""
    if hdf5.is_hdf5(str(place)):
        return hdf5.Reader(str(place)).run_json()
    path = place / RUN_FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content or not isinstance(content.get("settings", {}), dict):
            raise ValueError("no settings")
    except (ValueError, AttributeError) as error:
        raise _damaged(place, error) from None
    return content


def _damaged(place: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"damaged: {type(error).__name__}: {error}",
        where=str(place / RUN_FILE if place.is_dir() else place),
        remedy="bring back a copy of it, or remove it and pass the flags of the run",
    )


def _content(
    run: Run, dataset: LoadedSplit, config: Any, validation: LoadedSplit | None
) -> dict[str, Any]:
    """What run.json says."""
    plateau = config.learning_rate_decay_type == "plateau"
    without = _WITHOUT_EFFECT if plateau else _WITHOUT_EFFECT | _OF_VALIDATION
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in without
    }
    settings["class_weights"] = imbalance.recorded_weights(dataset, config)
    environment = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "cpu": processor.name(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "precision": mixed_precision.computed_in(config),
        "git_commit": _git_commit(),
    }
    return dataclasses.asdict(run) | {
        "settings": settings,
        "dataset": _record(dataset),
        "validation": _record(validation) if validation else None,
        "environment": environment,
        "command": sys.argv,
    }


def _record(dataset: LoadedSplit) -> dict[str, Any]:
    """What tells a split from another."""
    return {
        "split": dataset.split,
        "samples": dataset.num_samples,
        "sha256": [shard.sha256 for shard in dataset.shards],
    }


def _git_commit() -> str | None:
    """The commit of the code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()
    return None


def _flagfile(config: Any) -> str:
    """The flags of a run in the form that --flagfile reads; flags without a value are left out.

    Left out is also what follows from other flags: so they can be given anew beside the file.
    """
    settled_here = {*_THREADS, *(["max_number_of_steps"] if config.max_number_of_epochs else [])}
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        once = ("given", "debug", "allow_config_change", "allow_dataset_change")
        follows = field.name in settled_here - config.given
        if field.name in once or value is None or follows:
            continue
        if isinstance(value, bool):
            lines.append(f"--{'' if value else 'no'}{field.name}")
        else:
            lines.append(f"--{field.name}={value}")
    return "\n".join(lines) + "\n"
