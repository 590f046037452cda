"""Looks for all that can be wrong with a dataset on disk, without changing anything.

Every record is read, compared with its checksums, parsed, and its picture decoded; what that cannot
show, such as records that were exchanged, shows in the checksum that dataset.json keeps of each
file. Few records are in memory at a time. Training and evaluation use the same reading to name the
record on which they failed.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from core import files, progress
from core.errors import DataError, FlagError, LockedError
from datasets import images, parallel, records, spec, tfrecord
from datasets.dataset_factory import DATASETS, Known
from datasets.spec import LABELS, MANIFEST, Dataset, LoadedSplit, Shard, Split

# Of the datasets that research/slim knows.
_SPLITS_OF_SLIM = ("train", "validation", "val", "test")
_REMEDY = "convert the dataset again"


class Report(NamedTuple):
    """What `verify` found."""

    dataset: Dataset
    faults: list[DataError]
    warnings: list[str]


class _Examined(NamedTuple):
    """What came of one record."""

    record: records.Record  # without its content
    label: int
    problem: str


def verify(dataset_dir: str, name: str | None = None) -> Report:
    """Reads a whole dataset and reports every fault.

    Args:
        dataset_dir: where the dataset was written.
        name: of the dataset; needed where there is no dataset.json.

    Raises:
        FlagError: no such directory, or it holds another dataset, or the name is needed.
        LockedError: a conversion is writing to the directory.
        DataError: there is nothing to go by: dataset.json is damaged, or without one there are no
            record files, no class names, or a conversion was interrupted.
    """
    directory = Path(dataset_dir)
    if not directory.is_dir():
        raise FlagError("no such directory", where=dataset_dir, remedy="check --dataset_dir")
    if files.is_locked(directory):
        raise LockedError(
            "a conversion is writing to the directory",
            where=dataset_dir,
            remedy="wait for it to end",
        )
    manifest = files.committed(directory, MANIFEST)
    if manifest.is_file():
        dataset = Dataset.read(manifest)
        if name not in (None, dataset.name):
            raise FlagError(
                f"--dataset_name is {name}, but the directory holds {dataset.name}",
                where=dataset_dir,
                remedy="leave it out",
            )
        faults = list(_label_faults(dataset, directory))
    else:
        dataset, faults = _without_manifest(directory, name)
    total = sum(split.samples for split in dataset.splits.values())
    with progress.bar(f"Verifying {dataset.name}", total or None, unit="records") as done:
        for split in dataset.splits:
            faults += _split_faults(dataset, split, directory, done)
    return Report(dataset, faults, list(_warnings(dataset, directory)))


def record_faults(
    split: LoadedSplit, labels_offset: int = 0, count: Callable[[int], None] = lambda _: None
) -> Iterator[DataError]:
    """Every fault of the record files of a split, in reading order.

    Args:
        split: the split; record files of which it does not tell the number of records (0) are
            taken as they are.
        labels_offset: the smallest label that is one.
        count: called with the label of each record that has no fault.
    """
    for number, shard in enumerate(split.shards, start=1):
        path = files.committed(split.directory, shard.file)
        if path.is_file():
            yield from _shard_faults(path, shard, split, labels_offset, count)
        else:
            which = f"shard {number} of {len(split.shards)}"
            yield DataError(f"{which} is missing", where=str(path), remedy=_REMEDY)


def labels(split: LoadedSplit, labels_offset: int = 0) -> list[int]:
    """The label of each record of a split, in reading order, without a look at the pictures.

    Args:
        split: the split.
        labels_offset: the smallest label that is one.

    Raises:
        DataError: a record is damaged, or there are more or fewer than were written.
    """
    found = []
    for shard in split.shards:
        path, before = files.committed(split.directory, shard.file), len(found)
        for record in tfrecord.read(path):
            try:
                if record.problem:
                    raise DataError(record.problem)
                found.append(_picture_and_label(record, split, labels_offset)[1])
            except DataError as error:
                raise _fault_of(record, error.what, shard, path) from None
        if len(found) - before != shard.records:
            raise _wrong_number(len(found) - before, shard, path)
    return found


def _shard_faults(
    path: Path,
    shard: Shard,
    split: LoadedSplit,
    labels_offset: int,
    count: Callable[[int], None],
) -> Iterator[DataError]:
    examine = functools.partial(_examined, split=split, labels_offset=labels_offset)
    found, is_intact, is_at_end = 0, True, True
    for record, label, problem in parallel.in_order(examine, tfrecord.read(path)):
        if problem:
            is_intact = False
            yield _fault_of(record, problem, shard, path)
        else:
            count(label)
        found, is_at_end = found + 1, not record.ends_file
    if is_at_end and shard.records and found != shard.records:
        is_intact = False
        yield _wrong_number(found, shard, path)
    if is_intact and shard.sha256 and files.sha256(path) != shard.sha256:
        what = "not the records that were written: exchanged, repeated or from elsewhere"
        yield DataError(f"{what} (its sha256 differs)", where=str(path), remedy=_REMEDY)


def _fault_of(record: records.Record, problem: str, shard: Shard, path: Path) -> DataError:
    where = f"{path}: record {record.number}, offset {record.offset}"
    return DataError(problem + _loss(record, shard), where=where, remedy=_REMEDY)


def _wrong_number(found: int, shard: Shard, path: Path) -> DataError:
    what = f"{found} records, {shard.records} were written"
    return DataError(what, where=str(path), remedy=_REMEDY)


def _loss(record: records.Record, shard: Shard) -> str:
    """What a problem costs beside the record itself."""
    if not (record.ends_file and shard.records):
        return ""
    lost = shard.records - record.number
    return f"; {lost} of {shard.records} records are lost" if lost > 0 else " after the last record"


def _examined(record: records.Record, split: LoadedSplit, labels_offset: int) -> _Examined:
    problem, label = record.problem, 0
    if not problem:
        try:
            encoded, label = _picture_and_label(record, split, labels_offset)
            _check_picture(encoded, split)
        except DataError as error:
            problem = error.what
    return _Examined(record._replace(content=b""), label, problem)


def _picture_and_label(
    record: records.Record, split: LoadedSplit, labels_offset: int
) -> tuple[bytes, int]:
    """The encoded picture and the label of a record; DataError if it has none of a class."""
    encoded, label = tfrecord.picture_and_label(record.content)
    if not labels_offset <= label < split.num_classes:
        raise DataError(f"label {label} is not in {labels_offset}..{split.num_classes - 1}")
    return encoded, label


def _check_picture(encoded: bytes, split: LoadedSplit) -> None:
    """DataError unless the picture can be decoded, and is as small as its header says."""
    image = images.load(encoded, split.max_pixels or images.MAX_PIXELS)
    if image.encoded != encoded:  # of a kind that our converters do not store
        tfrecord.check_decodes(encoded, split.channels)


def _split_faults(
    dataset: Dataset, name: str, directory: Path, done: Callable
) -> Iterator[DataError]:
    """Every fault of a split: those of its record files, or else of what they add up to."""
    counts = [0] * len(dataset.class_names)

    def count(label: int) -> None:
        counts[label] += 1
        done()

    is_intact = True
    for fault in record_faults(LoadedSplit.of(dataset, name, directory), count=count):
        is_intact = False
        yield fault
    expected = dataset.splits[name].class_counts
    if is_intact and not sum(counts):
        yield DataError(f"split {name} holds no records", where=str(directory), remedy=_REMEDY)
    elif is_intact and expected and tuple(counts) != expected:
        what = f"split {name} has {counts} records per class, {MANIFEST} says {list(expected)}"
        yield DataError(what, where=str(directory), remedy=_REMEDY)


def _label_faults(dataset: Dataset, directory: Path) -> Iterator[DataError]:
    """What labels.txt says otherwise than dataset.json."""
    path = files.committed(directory, LABELS)
    if not path.is_file():
        yield DataError(f"{LABELS} is missing", where=str(path), remedy=_REMEDY)
        return
    there = path.read_bytes().split(b"\n")
    expected = spec.labels_text(dataset.class_names).encode().split(b"\n")
    if there != expected:
        same = [one == other for one, other in zip(there, expected, strict=False)]
        line = [*same, False].index(False) + 1
        yield DataError(f"not what {MANIFEST} says", where=f"{path}:{line}", remedy=_REMEDY)


def _without_manifest(directory: Path, name: str | None) -> tuple[Dataset, list[DataError]]:
    """What data of research/slim is, by its file names, and what is wrong with these."""
    spec.check_finished(directory)
    if name is None:
        raise FlagError(
            f"no {MANIFEST}",
            where=str(directory),
            remedy="check --dataset_dir, or for data of research/slim pass --dataset_name",
        )
    known = DATASETS.get(name, Known())
    splits, faults = {}, []
    for split in _SPLITS_OF_SLIM:
        paths = spec.record_files(directory, known, name, split)
        if not paths:
            continue
        try:
            spec.check_numbering(paths)
        except DataError as error:
            faults.append(error)
        splits[split] = Split(tuple(map(_as_found, paths)))
    if not splits:
        raise DataError(
            f"no {MANIFEST}, and no record files of {name}",
            where=str(directory),
            remedy="check --dataset_name and --dataset_dir",
        )
    names = spec.known_class_names(directory, known)
    return Dataset(name, names, splits, known.channels), faults


def _as_found(path: Path) -> Shard:
    """A record file of which nothing is written down."""
    try:
        count = records.count(path)
    except DataError:  # where it is damaged is told when it is read
        count = 0
    return Shard(path.name, count, path.stat().st_size)


def _warnings(dataset: Dataset, directory: Path) -> Iterator[str]:
    """What lies in the directory and is no part of the dataset."""
    listed = {shard.file for split in dataset.splits.values() for shard in split.shards}
    for path in sorted(directory.iterdir()):
        if path.name in listed:
            continue
        if path.suffix == ".tfrecord" or spec.is_numbered(path.name):
            yield f"{path}: not part of the dataset, and not read"
    for path in files.unfinished(directory):
        yield f"{path}: left by an interrupted conversion; the next one removes it"
