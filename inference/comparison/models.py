"""The models that are compared: found, named, and given pictures to be measured with."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import datasets
from core import files
from core.errors import DataError, FlagError
from datasets import tfrecord
from datasets.spec import LoadedSplit
from engine import run_dir, untrained
from inference import predictor

SAMPLES = 32  # pictures to measure the speed with, at most


class Candidate(NamedTuple):
    """One of the models."""

    path: str  # the checkpoint or export; of an untrained one, its directory
    run: run_dir.Run
    is_trained: bool

    @property
    def described(self) -> str:
        """What it is, for people."""
        size, classes = self.run.image_size, self.run.num_classes
        where = self.path if self.is_trained else "random weights"
        return f"{self.run.model_name}, {size}x{size} pixels, {classes} classes: {where}"


def gather(
    paths: Sequence[str], nets: Sequence[str], config: Any, scratch: Path
) -> dict[str, Candidate]:
    """The models by their names: those that paths mean, and nets with random weights.

    Args:
        paths: run directories, checkpoints, exports.
        nets: names of nets.
        config: read here, for the nets: image_size, num_classes.
        scratch: directory for the nets.

    Raises:
        FlagError: one stands there twice, or a net cannot be built so.
        CheckpointError: there is no such model, or it is damaged.
        MachineError: a library that reads a format is not installed, or the disk is full.
    """
    drawn = {str(scratch / "random" / net): net for net in nets}
    names = named([*paths, *drawn])
    for path in paths:
        predictor.newest(path)  # a mistyped one is to be told first
    class_names = [str(number) for number in range(config.num_classes)]
    found = {}
    for name, path in names.items():
        if path in drawn:
            untrained.write(Path(path), drawn[path], config.image_size, class_names)
            found[name] = Candidate(path, run_dir.read(Path(path)), is_trained=False)
        else:
            with contextlib.closing(predictor.open_model(path)) as opened:
                source, run = opened.model.source, opened.model.run
            found[name] = Candidate(source, run, is_trained=True)  # a training may go on
    return found


def named(paths: Sequence[str]) -> dict[str, str]:
    """Paths by their last parts, each with as many as make it differ from the others.

    Raises:
        FlagError: a path stands there twice.
    """
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    found = {}
    for path, own in zip(paths, parts, strict=True):
        if parts.count(own) > 1:
            raise FlagError(f"{path} stands there twice", remedy="compare different models")
        tails = ([each[-depth:] for each in parts] for depth in itertools.count(1))
        depth = next(d for d, all_ in enumerate(tails, start=1) if all_.count(own[-d:]) == 1)
        found[str(Path(*own[-depth:]))] = path
    return found


def dataset_of(models: Mapping[str, Candidate], config: Any) -> LoadedSplit | None:
    """The split to score trained models on: that of the flags, else of the first that knows one.

    Args:
        models: by name.
        config: read here: dataset_dir, dataset_name, dataset_split_name.

    Returns:
        The split; None if no model is trained.

    Raises:
        FlagError: nothing tells where the dataset is, there is no such one, or a model has other
            classes.
        DataError: as `datasets.load`.
    """
    runs = {name: model.run for name, model in models.items() if model.is_trained}
    if not runs:
        return None
    told = next((run for run in runs.values() if run.dataset_dir), next(iter(runs.values())))
    directory = config.dataset_dir or told.dataset_dir
    if not directory:
        raise FlagError(
            "no model tells where its dataset is, and exports never do",
            remedy="pass --dataset_dir",
        )
    name = config.dataset_name or told.dataset_name
    dataset = datasets.load(directory, name, config.dataset_split_name)
    for model, run in runs.items():
        if run.class_names != dataset.class_names:
            raise FlagError(
                f"{model} knows {_counted(run.class_names)}, the dataset has "
                f"{_counted(dataset.class_names)}",
                where=directory,
                remedy="compare models of the same classes, on data with these",
            )
    return dataset


def _counted(names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} classes ({', '.join(names[:3])}{more})"


def records(dataset: LoadedSplit, labels_offset: int) -> Iterator[tuple[bytes, int]]:
    """Encoded pictures of a split and their labels, less the offset, in record order.

    Raises:
        DataError: a record is damaged, or its label is none; it is not named.
    """
    for path in dataset.paths:
        for record in tfrecord.read(Path(path)):
            if record.problem:
                raise DataError(record.problem)
            encoded, label = tfrecord.picture_and_label(record.content)
            if not labels_offset <= label < dataset.num_classes:
                raise DataError(
                    f"label {label} is none of {labels_offset} to {dataset.num_classes - 1}"
                )
            yield encoded, label - labels_offset


def write_pictures(
    models: Mapping[str, Candidate], dataset: LoadedSplit | None, directory: Path
) -> Path:
    """Writes the files to measure the speed with: the first pictures of a split.

    Without one they are noise, always the same, of the largest size that a net takes.

    Returns:
        The directory, which is made.
    """
    if dataset:
        pictures = (encoded for encoded, _ in records(dataset, 0))
    else:
        pictures = _noise(max(model.run.image_size for model in models.values()))
    files.make_directory(directory)
    for number, encoded in enumerate(itertools.islice(pictures, SAMPLES)):
        (directory / f"{number:02}").write_bytes(encoded)
    return directory


def _noise(size: int) -> Iterator[bytes]:
    noise = np.random.RandomState(0)
    pixels = (noise.randint(0, 256, (1, size, size, 3)).astype(np.uint8) for _ in range(SAMPLES))
    return tfrecord.encode_png(pixels)
