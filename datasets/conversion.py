"""Writes a dataset: record files, labels.txt, and dataset.json as the mark that all is there."""

import contextlib
import csv
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from core import files, progress
from core.errors import DataError, FlagError
from datasets import tfrecord
from datasets.spec import LABELS, MANIFEST, Dataset, Example, Split, labels_text

SKIPPED = "skipped.csv"
_STALE = ".stale"  # names of files that the committed dataset has no more use for


class Skipped(NamedTuple):
    """A picture that was left out."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the pictures of a dataset come from.

    Args:
        class_names: in label order.
        settings: all that the records depend on; kept in dataset.json, so that a second run can
            tell whether the same dataset is asked for.
        examples: called once; yields (split name, Example), or Skipped for what was left out.
        total: how many pictures there are, if known.
        channels: 3 for RGB, 1 for grey.
        num_shards: record files per split; 0 for one file without a shard number in its name.
        size: about how many bytes all of it takes on disk; 0 if unknown.
    """

    class_names: tuple[str, ...]
    settings: Mapping[str, Any]
    examples: Callable[[], Iterable[tuple[str, Example] | Skipped]]
    total: int | None = None
    channels: int = 3
    num_shards: int = 0
    size: int = 0


class Result(NamedTuple):
    """What a conversion came to."""

    dataset: Dataset
    skipped: list[Skipped]
    written: bool  # False: an identical dataset was there already


def convert(name: str, source: Source, dataset_dir: str, *, overwrite: bool = False) -> Result:
    """Writes the dataset, unless the same one is there already, whole and undamaged.

    Raises:
        FlagError: another dataset is there and `overwrite` is not set, or the name cannot be that
            of a file.
        DataError: a picture is bad, or the dataset.json that is there.
        LockedError: another converter works on the directory.
        MachineError: the disk is full, or too full to begin, or the directory cannot be written.
    """
    if not name.isprintable() or not name or "/" in name or name.startswith("."):
        raise FlagError(
            f"dataset name {name!a} cannot be part of a file name",
            remedy="choose a --dataset_name that can be printed, without slashes, and does not "
            "start with a dot",
        )
    directory = files.make_directory(dataset_dir)
    with files.locked(directory):
        files.sweep(directory)
        _remove_stale(directory)
        manifest = directory / MANIFEST
        old = _existing(manifest, overwrite)
        if old and not overwrite:
            _check_same(name, source, old, manifest)
            if _is_whole(old, directory):
                return Result(old, [], written=False)
            logging.warning("%s: files are missing or damaged, writing anew", directory)
        files.check_space(directory, source.size, f"the {name} dataset")
        with files.staging(directory) as stage:
            dataset, skipped = _write(name, source, stage)
            _commit(old, dataset, stage, directory)
        _remove_stale(directory)
    return Result(dataset, skipped, written=True)


def _existing(manifest: Path, overwrite: bool) -> Dataset | None:
    """The dataset that is there; one that is to be replaced may be damaged."""
    if not manifest.exists():
        return None
    try:
        return Dataset.read(manifest)
    except DataError:
        if overwrite:
            return None
        raise


def _check_same(name: str, source: Source, there: Dataset, manifest: Path) -> None:
    """FlagError unless the dataset that is there is the one that was asked for."""
    differences = []
    if there.class_names != source.class_names:
        differences = [f"{_brief(there.class_names)} there, {_brief(source.class_names)} asked for"]
    differences += [
        f"{key}: {there.source.get(key)} there, {value} asked for"
        for key, value in source.settings.items()
        if there.source.get(key) != value
    ]
    if there.name != name:
        differences = [f"dataset_name: {there.name} there, {name} asked for"]
    if differences:
        raise FlagError(
            f"the directory holds another dataset; {'; '.join(differences)}",
            where=str(manifest),
            remedy="pass --overwrite to replace it, or another --dataset_dir",
        )


def _brief(class_names: tuple[str, ...]) -> str:
    more = ", ..." if class_names[5:] else ""
    return f"{len(class_names)} classes ({', '.join(class_names[:5])}{more})"


def _is_whole(dataset: Dataset, directory: Path) -> bool:
    """Whether record files and labels.txt are there, with the content that was written."""
    written = {
        shard.file: shard.sha256 for split in dataset.splits.values() for shard in split.shards
    }
    written[LABELS] = hashlib.sha256(labels_text(dataset.class_names).encode()).hexdigest()
    return all(
        (directory / file).is_file() and files.sha256(directory / file) == sha256
        for file, sha256 in written.items()
    )


def _write(name: str, source: Source, stage: Path) -> tuple[Dataset, list[Skipped]]:
    """Writes all files of the dataset into the staging directory, dataset.json included."""
    writers: dict[str, list[tfrecord.ShardWriter]] = {}
    counts: dict[str, list[int]] = {}
    skipped: list[Skipped] = []
    with contextlib.ExitStack() as stack, progress.bar(f"Converting {name}", source.total) as done:
        for item in source.examples():
            done()
            if isinstance(item, Skipped):
                skipped.append(item)
                continue
            split, example = item
            if split not in writers:
                writers[split] = [
                    tfrecord.ShardWriter(stage / f"{split}-{number}")
                    for number in range(max(source.num_shards, 1))
                ]
                for writer in writers[split]:
                    stack.callback(writer.close)
                counts[split] = [0] * len(source.class_names)
            # Dealt out in turn, so that reading the shards in turn gives the order back.
            writers[split][sum(counts[split]) % len(writers[split])].write(example)
            counts[split][example.label] += 1
    splits = {
        split: Split(_named(name, split, writers[split], stage, source), tuple(counts[split]))
        for split in sorted(writers, key=("train", "validation", "test").index)
    }
    dataset = Dataset(name, source.class_names, splits, source.channels, source.settings)
    files.write_text(stage / LABELS, labels_text(source.class_names))
    files.write_text(stage / MANIFEST, dataset.to_json())
    if skipped:
        with (stage / SKIPPED).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([Skipped._fields, *skipped])
    return dataset, skipped


def _named(
    name: str, split: str, writers: list[tfrecord.ShardWriter], stage: Path, source: Source
) -> tuple:
    """Gives the record files of a split their final names, inside the staging directory."""
    filled = [(number, writer) for number, writer in enumerate(writers) if writer.records]
    shards = []
    for number, writer in filled:
        file = f"{name}_{split}.tfrecord"
        if source.num_shards:
            file = f"{name}_{split}_{number:05d}-of-{len(filled):05d}.tfrecord"
        path = (stage / f"{split}-{number}").rename(stage / file)
        shards.append(writer.shard(file, files.sha256(path)))
    return tuple(shards)


def _commit(old: Dataset | None, new: Dataset, stage: Path, directory: Path) -> None:
    """Moves the files to their final names, dataset.json last."""
    written = {path.name for path in stage.iterdir()}
    replaced = {SKIPPED} | (_shard_files(old) if old else set())
    stale = [file for file in sorted(replaced - written) if (directory / file).exists()]
    if stale:
        # Committed with the rest: a crash leaves either the older dataset or this list.
        files.write_text(stage / _STALE, json.dumps(stale))
    optional = [name for name in (SKIPPED, _STALE) if (stage / name).exists()]
    files.commit(stage, [*sorted(_shard_files(new)), *optional, LABELS, MANIFEST], directory)


def _remove_stale(directory: Path) -> None:
    """Removes what the dataset had that was replaced."""
    note = directory / _STALE
    if note.exists():
        for file in json.loads(note.read_text(encoding="utf-8")):
            (directory / file).unlink(missing_ok=True)
        note.unlink()


def _shard_files(dataset: Dataset) -> set[str]:
    return {shard.file for split in dataset.splits.values() for shard in split.shards}
