"""What a dataset is: class names, and per split the record files with their counts.

The converter saves this as `dataset.json` beside the records, last of all its files, so that its
presence means the dataset is complete. Training and evaluation read it back, which is why nobody
has to edit Python to bring pictures of their own. Data that research/slim wrote has no
dataset.json: then file names, labels.txt and the record headers tell the same facts.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core import files
from core.errors import DataError, FlagError
from datasets import dataset_factory, records

MANIFEST = "dataset.json"
LABELS = "labels.txt"

# How research/slim numbers the files of a split, for example flowers_train_00000-of-00005.tfrecord.
_NUMBERED = re.compile(r"(?P<this>\d{5})-of-(?P<all>\d{5})(?!\d)")


class Example(NamedTuple):
    """One picture on its way into a record."""

    encoded: bytes  # a complete PNG or JPEG file
    format: str  # "png" or "jpeg"
    height: int  # pixels
    width: int  # pixels
    label: int  # position in the class names
    filename: bytes = b""  # where it came from; bytes, since file names need not be UTF-8


@dataclasses.dataclass(frozen=True)
class Shard:
    """One record file."""

    file: str  # its name inside the dataset directory
    records: int
    bytes: int
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Split:
    """The record files of one split, in reading order."""

    shards: tuple[Shard, ...]
    class_counts: tuple[int, ...] = ()  # pictures per class; empty if unknown

    @property
    def samples(self) -> int:
        """The number of pictures."""
        return sum(shard.records for shard in self.shards)

    @property
    def bytes(self) -> int:
        """The size of the record files."""
        return sum(shard.bytes for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A converted dataset: what dataset.json says."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    channels: int = 3
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what it was made from

    def to_json(self) -> str:
        """The text of dataset.json."""
        content = dataclasses.asdict(self)
        for name, split in self.splits.items():
            content["splits"][name] = {"samples": split.samples, **content["splits"][name]}
        content["sha256"] = hashlib.sha256(_json(content).encode()).hexdigest()  # of all the rest
        return _json(content)

    @classmethod
    def read(cls, path: Path) -> "Dataset":
        """The dataset that a dataset.json describes; DataError if it is not one, or is damaged."""
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text)
            splits = {
                name: Split(
                    tuple(Shard(**shard) for shard in split["shards"]),
                    tuple(split["class_counts"]),
                )
                for name, split in content["splits"].items()
            }
            dataset = cls(
                content["name"],
                tuple(content["class_names"]),
                splits,
                content["channels"],
                content["source"],
            )
            _check_values(dataset)
            # Those that were written before there was a checksum hold the fields and no more.
            fields = {field.name for field in dataclasses.fields(cls)}
            if content.keys() != fields and text != dataset.to_json():
                raise ValueError("it does not agree with its own checksum")
            return dataset
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"not a dataset description: {type(error).__name__}: {error}",
                where=str(path),
                remedy="convert the dataset again with --overwrite",
            ) from None


def _check_values(dataset: Dataset) -> None:
    """ValueError unless all values are such as a converter writes."""
    shards = [shard for split in dataset.splits.values() for shard in split.shards]
    texts = [dataset.name, *dataset.class_names]
    numbers = [count for split in dataset.splits.values() for count in split.class_counts]
    for shard in shards:
        texts += [shard.file, shard.sha256]
        numbers += [shard.records, shard.bytes]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name that is no text")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a count that is no number from 0")
    if dataset.channels not in (1, 3) or not isinstance(dataset.source, dict):
        raise ValueError("channels or source of another kind")
    if any("/" in shard.file or not shard.file.strip(".") for shard in shards):
        raise ValueError("a record file outside the directory")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@dataclasses.dataclass(frozen=True)
class LoadedSplit:
    """One split of a dataset, ready to be read."""

    name: str  # of the dataset
    split: str
    directory: Path
    class_names: tuple[str, ...]
    channels: int
    shards: tuple[Shard, ...]
    max_pixels: int | None = None  # larger pictures were refused; None: by the usual limit
    class_counts: tuple[int, ...] = ()  # pictures per class; empty if unknown

    @classmethod
    def of(cls, dataset: Dataset, split: str, directory: Path) -> "LoadedSplit":
        """A split of a dataset that lies in a directory."""
        return cls(
            dataset.name,
            split,
            directory,
            dataset.class_names,
            dataset.channels,
            dataset.splits[split].shards,
            dataset.source.get("max_pixels"),
            dataset.splits[split].class_counts,
        )

    @property
    def num_samples(self) -> int:
        """The number of pictures."""
        return sum(shard.records for shard in self.shards)

    @property
    def num_classes(self) -> int:
        """The number of classes, before any --labels_offset."""
        return len(self.class_names)

    @property
    def paths(self) -> list[str]:
        """The record files, in reading order."""
        return [str(files.committed(self.directory, shard.file)) for shard in self.shards]


def load(
    directory: str | os.PathLike, name: str, split: str, file_pattern: str | None = None
) -> LoadedSplit:
    """Finds a split and checks that its record files are there, whole in size.

    Args:
        directory: where the dataset was written.
        name: of the dataset, as it was given to the converter.
        split: for example "train", "validation" or "test".
        file_pattern: names of the record files, with %s for the split; by default dataset.json, or
            else the names that research/slim gives them, tell which they are.

    Raises:
        FlagError: no such directory, another dataset's directory, or no such split.
        DataError: a record file is missing, cut short, or holds nothing.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FlagError(
            "no such directory", where=str(directory), remedy="check --dataset_dir, or convert it"
        )
    manifest = files.committed(directory, MANIFEST)
    if manifest.is_file() and file_pattern is None:
        dataset = Dataset.read(manifest)
    else:
        dataset = _from_files(directory, name, split, file_pattern)
    if dataset.name != name:
        raise FlagError(
            f"--dataset_name is {name}, but the directory holds {dataset.name}",
            where=str(directory),
            remedy=f"pass --dataset_name={dataset.name} or another --dataset_dir",
        )
    if split not in dataset.splits:
        raise FlagError(
            f"split name {split} was not recognized",
            where=str(directory),
            remedy=f"splits here: {', '.join(dataset.splits)}",
        )
    loaded = LoadedSplit.of(dataset, split, directory)
    for position, shard in enumerate(loaded.shards, start=1):
        path = files.committed(directory, shard.file)
        _check_shard(path, shard, f"shard {position} of {len(loaded.shards)}")
    if not loaded.num_samples:
        raise DataError(f"split {split} holds no records", where=str(directory))
    return loaded


def _check_shard(path: Path, shard: Shard, which: str) -> None:
    """DataError unless the file is there and has the size that was written."""
    if not path.is_file():
        raise DataError(f"{which} is missing", where=str(path), remedy="convert the dataset again")
    size = path.stat().st_size
    if size != shard.bytes:
        raise DataError(
            f"{which} has {size} bytes, {shard.bytes} were written",
            where=str(path),
            remedy="convert the dataset again",
        )


def _from_files(directory: Path, name: str, split: str, file_pattern: str | None) -> Dataset:
    """The same facts for data without dataset.json, as research/slim writes it."""
    check_finished(directory)
    known = dataset_factory.DATASETS.get(name, dataset_factory.Known())
    if file_pattern is not None:
        known = dataclasses.replace(known, file_patterns=(file_pattern,))
    found = record_files(directory, known, name, split)
    if not found:
        raise DataError(
            f"no {MANIFEST}, and no record files of {name}, split {split}",
            where=str(directory),
            remedy="convert it with download_and_convert_data.py, or check --dataset_name, "
            "--dataset_split_name and --dataset_dir",
        )
    check_numbering(found)
    shards = tuple(Shard(path.name, records.count(path), path.stat().st_size) for path in found)
    return Dataset(
        name, known_class_names(directory, known), {split: Split(shards)}, channels=known.channels
    )


def check_finished(directory: Path) -> None:
    """DataError if a directory without dataset.json is that of a conversion cut short."""
    if files.unfinished(directory):
        raise DataError(
            "a conversion into this directory was interrupted",
            where=str(directory),
            remedy="run download_and_convert_data.py again",
        )


def record_files(
    directory: Path, known: "dataset_factory.Known", name: str, split: str
) -> list[Path]:
    """The record files of a split, by their names alone."""
    return sorted(path for path in directory.iterdir() if known.matches(path.name, name, split))


def is_numbered(file: str) -> bool:
    """Whether a file is named like one of several record files."""
    return bool(_NUMBERED.search(file))


def check_numbering(paths: list[Path]) -> None:
    """DataError unless files numbered like "-00001-of-00005" are all there, of one set."""
    numbers = list(filter(None, (_NUMBERED.search(path.name) for path in paths)))
    if not numbers:
        return
    found = sorted((int(number["this"]), int(number["all"])) for number in numbers)
    total = found[-1][1]
    if len(paths) != total or found != [(this, total) for this in range(total)]:
        raise DataError(
            f"{len(paths)} record files, not numbered 0 to {total - 1} of {total}",
            where=f"{paths[0]}, ...",
            remedy="add the missing files, or remove those of another conversion",
        )


def known_class_names(directory: Path, known: "dataset_factory.Known") -> tuple[str, ...]:
    """Class names from labels.txt, else numbers, if the dataset is one whose classes are known."""
    labels = directory / LABELS
    if labels.is_file():
        names = read_labels(labels)
        return tuple(names.get(label, str(label)) for label in range(max(names) + 1))
    if known.num_classes:
        return tuple(str(label) for label in range(known.num_classes))
    raise DataError(
        f"neither {MANIFEST} nor {LABELS} tells the classes",
        where=str(directory),
        remedy=f"write {LABELS} with one id:name line per class",
    )


def labels_text(class_names: tuple[str, ...]) -> str:
    """The text of labels.txt: one "id:name" line per class."""
    return "".join(f"{label}:{name}\n" for label, name in enumerate(class_names))


def read_labels(path: Path) -> dict[int, str]:
    """labels.txt as id to name; DataError names the line that is not "id:name"."""
    try:
        # Not splitlines: it also splits at characters that may stand in a name, such as U+2028.
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason}", where=f"{path}:{error.start}") from None
    names = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, colon, name = line.partition(":")
        if not (colon and label.strip().isdecimal()):
            raise DataError("not an id:name line", where=f"{path}:{number}")
        names[int(label)] = name
    if not names:
        raise DataError("no class in it", where=str(path))
    return names
