"""How right a model is on a split of a dataset, and what it costs."""

import contextlib
import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np

from core import progress
from core.compat import tf
from core.errors import DataError
from datasets import parallel, records, verification
from datasets.spec import LoadedSplit
from engine import checkpoints, metrics
from engine.metrics import Metrics
from engine.scores import Scores
from inference import predictor
from inference.comparison import models
from inference.comparison.cost import Cost, cost
from inference.comparison.models import Candidate
from inference.comparison.tables import Value
from inference.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Result:
    """What was found of one model; None: not measured."""

    cost: Cost
    bytes: int
    training_seconds: float | None = None
    metrics: Metrics | None = None
    evaluation_seconds: float | None = None

    def row(self) -> dict[str, Value]:
        """The values of the table, by the keys of its columns."""
        values = dict(self.metrics.values) if self.metrics else {}
        return values | {
            **self.cost._asdict(),
            "bytes": self.bytes,
            "training_seconds": self.training_seconds,
            "evaluation_seconds": self.evaluation_seconds,
        }


def measure(model: Candidate, dataset: LoadedSplit | None, batch_size: int) -> Result:
    """Finds what a model costs, and if it is trained scores it on a split.

    Args:
        model: which one.
        dataset: the split; None if the model is not trained.
        batch_size: pictures at a time.

    Raises:
        CheckpointError, FlagError, MachineError: as `predictor.open_model`.
        DataError: a record is damaged, or its label is none.
        DivergedError: the model's outputs are not finite.
    """
    if not model.is_trained:
        return Result(cost(model.run), size_of(checkpoints.resolve(model.path)))
    with contextlib.closing(predictor.open_model(model.path)) as opened:
        started = time.monotonic()
        scores = scored(opened, dataset, batch_size)
        seconds = time.monotonic() - started
        found = metrics.compute(scores, opened.model.class_names)
    return Result(
        cost(model.run), size_of(model.path), training_seconds_of(model.path), found, seconds
    )


def scored(opened: Predictor, dataset: LoadedSplit, batch_size: int) -> Scores:
    """What a model gives for every picture of a split, in record order.

    Two batches are under way at a time, so that one is decoded while the net works on the other.

    Raises:
        DataError: a record is damaged, or its label is none; file and record are named.
        DivergedError: the model's outputs are not finite.
    """
    offset = opened.model.run.labels_offset
    scores = Scores(len(opened.model.class_names))

    def answered(batch: list[tuple[bytes, int]]) -> tuple[np.ndarray, np.ndarray]:
        pictures, labels = zip(*batch, strict=True)
        return opened.probabilities(pictures), np.array(labels, np.int64)

    every = models.records(dataset, offset)
    batches = iter(lambda: list(itertools.islice(every, batch_size)), [])
    try:
        with progress.bar("Scoring", dataset.num_samples) as advance:
            for probabilities, labels in parallel.in_order(answered, batches, workers=2):
                scores.add_probabilities(probabilities, labels)
                advance(len(labels))
    except DataError:
        for fault in verification.record_faults(dataset, offset):
            raise fault from None
        raise
    return scores


def size_of(source: str) -> int:
    """The bytes that a model takes on disk.

    Args:
        source: an export, all of which counts, or a checkpoint, of which index and data do: the
            graph beside them is not needed to use it.
    """
    path = Path(source)
    if path.is_dir():
        counted = [file for file in path.rglob("*") if file.is_file()]
    elif path.is_file():
        counted = [path]
    else:
        ours = (".index", ".data")
        counted = [file for file in checkpoints.files_of(source) if file.suffix.startswith(ours)]
    return sum(file.stat().st_size for file in counted)


def training_seconds_of(source: str) -> float | None:
    """What the training of a checkpoint took; None of one that is not the newest of its run.

    Args:
        source: the checkpoint, or an export, of which nothing is known.
    """
    directory = Path(source).parent
    steps = checkpoints.steps(directory)
    if not steps or source != checkpoints.prefix(directory, steps[-1]):
        return None
    return training_seconds(directory)


def training_seconds(directory: Path) -> float | None:
    """The seconds that the processes which trained a run were at it, as its event files tell.

    Of each file that is the time from its first event to its last. None if there are no events.
    """
    times = [_first_and_last(path) for path in directory.glob("events.out.tfevents.*")]
    known = [last - first for first, last in filter(None, times)]
    return sum(known) if known else None


def _first_and_last(path: Path) -> tuple[float, float] | None:
    """The times of the first and the last whole event of a file, seconds; None if there is none.

    Those between are hopped over. What a kill has cut off at the end does not count.
    """
    size, offset, frames = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while len(header := file.read(records.HEADER_BYTES)) == records.HEADER_BYTES:
            length = records.length(header)
            if length is None or offset + records.FRAME_BYTES + length > size:
                break
            frames = [*frames[:1], (offset + records.HEADER_BYTES, length)]
            offset = file.seek(offset + records.FRAME_BYTES + length)
        times = []
        for start, length in (frames[0], frames[-1]) if frames else ():
            file.seek(start)
            try:
                times.append(tf.Event.FromString(file.read(length)).wall_time)
            except Exception:  # a class of protobuf, which TensorFlow does not name
                return None
    return (times[0], times[1]) if times else None
