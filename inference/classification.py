"""Classifying many pictures, into a CSV file or JSON lines."""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from absl import logging

from core import csv_table, files, process, progress
from core.errors import DataError, FlagError
from datasets import images, parallel
from inference import pictures
from inference.pictures import Content, Picture
from inference.predictor import Predictor


class Row(NamedTuple):
    """What is known of one picture."""

    content: Content
    probabilities: np.ndarray | None  # float32 [C]; None if there is a problem
    problem: str = ""


class Prediction(NamedTuple):
    """One of the classes that a picture may be of."""

    name: str
    label: int  # which output of the net
    probability: np.float32


class Summary(NamedTuple):
    """What came of a classification."""

    count: int
    unreadable: int
    first_problem: str  # "" if there is none


def classify(predictor: Predictor, found: list[Picture], config: Any) -> Summary:
    """Writes a row per picture to --output, and copies the pictures to --copy_to if that is given.

    The file appears when it is complete.

    Args:
        predictor: the model.
        found: from `pictures.find`.
        config: read here: output, copy_to, top_k, escape_formulas, and what `rows` reads.

    Raises:
        DivergedError: the model's outputs are not finite.
        FlagError: --output is something else than a file.
        MachineError: the disk is full.
    """
    classes = predictor.model.class_names
    top_k = min(config.top_k, len(classes))
    output = Path(os.path.realpath(config.output))  # of a link, what it points to is replaced
    if output.exists() and not output.is_file():
        raise FlagError("not a file", where=config.output, remedy="pass another --output")
    files.make_directory(output.parent)
    files.sweep_path(output)
    count = unreadable = 0
    first_problem = ""
    with files.atomic_write(output) as file, progress.bar("Classifying", len(found)) as advance:
        write = _writer(file, output.suffix, top_k, config.escape_formulas)
        for row in rows(predictor, found, config):
            best = [] if row.problem else ranked(row.probabilities, classes, top_k)
            write(row, best)
            if config.copy_to and best:
                _copy(row.content, best[0].name, Path(config.copy_to))
            if row.problem:
                unreadable += 1
                first_problem = first_problem or f"{row.content.picture.name}: {row.problem}"
            count += 1
            if count == 1:
                logging.info("First answer after %s", process.cold_start())
            advance()
    return Summary(count, unreadable, first_problem)


def rows(predictor: Predictor, found: list[Picture], config: Any) -> Iterator[Row]:
    """The rows of pictures in the same order.

    Two batches are under way at a time: one is read and decoded while the net works on the other.

    Args:
        predictor: the model.
        found: the pictures.
        config: read here: batch_size, max_file_mb, max_image_pixels.
    """

    def rows_of(batch: list[Picture]) -> list[Row]:
        limits = (config.max_file_mb, config.max_image_pixels)
        return _predicted(predictor, [pictures.read(picture, *limits) for picture in batch])

    size = config.batch_size
    batches = (found[start : start + size] for start in range(0, len(found), size))
    for batch in parallel.in_order(rows_of, batches, workers=2):
        yield from batch


def _predicted(predictor: Predictor, contents: list[Content]) -> list[Row]:
    """The rows of one batch."""
    readable = [content for content in contents if not content.problem]
    try:
        found = iter(predictor.probabilities([content.encoded for content in readable]))
    except DataError as error:  # of one of them, which TensorFlow does not tell
        if len(contents) == 1:
            return [Row(contents[0], None, _damage(contents[0]) or error.what)]
        return [row for content in contents for row in _predicted(predictor, [content])]
    return [
        Row(content, None, content.problem) if content.problem else Row(content, next(found))
        for content in contents
    ]


def _damage(content: Content) -> str:
    """What a conversion would say of a picture that TensorFlow cannot decode."""
    try:
        images.load(content.original)
    except DataError as error:
        return error.what
    return ""


def ranked(probabilities: np.ndarray, classes: tuple[str, ...], top_k: int) -> list[Prediction]:
    """The most probable classes, best first; of equal ones the lower label first.

    Args:
        probabilities: float32 [C].
        classes: C names.
        top_k: how many, at most C.
    """
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(classes[label], int(label), probabilities[label]) for label in order]


def as_json(predictions: list[Prediction]) -> list[dict[str, Any]]:
    """Predictions as they stand in JSON.

    Probabilities are the numbers with the shortest text that means the same float32, as in CSV.
    """
    return [
        {"class": name, "label": label, "probability": float(str(probability))}
        for name, label, probability in predictions
    ]


def _writer(
    file: IO[str], suffix: str, top_k: int, escape_formulas: bool
) -> Callable[[Row, list[Prediction]], None]:
    """What writes a row and its best predictions to a file of the format that a suffix tells."""
    if suffix == ".json":

        def write_json(row: Row, best: list[Prediction]) -> None:
            predictions = as_json(best)
            first = predictions[0] if best else {"class": None, "probability": None}
            line = {
                "path": row.content.picture.name,
                "class": first["class"],
                "probability": first["probability"],
                "predictions": predictions,
                "error": row.problem or None,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

        return write_json

    def cell(text: str) -> str:
        return csv_table.text(text) if escape_formulas else text

    def write_csv(row: Row, best: list[Prediction]) -> None:
        found = [value for name, _, probability in best for value in (cell(name), str(probability))]
        found += [""] * (2 * top_k - len(found))
        table.writerow([cell(row.content.picture.name), *found, cell(row.problem)])

    table = csv.writer(file)
    ranks = [""] + [f"_{rank}" for rank in range(2, top_k + 1)]
    columns = [f"{column}{rank}" for rank in ranks for column in ("class", "probability")]
    table.writerow(["path", *columns, "error"])
    return write_csv


def check_copy_to(copy_to: str, found: list[Picture]) -> None:
    """FlagError unless pictures can be copied there: into an empty folder apart from their own."""
    target = Path(copy_to)
    if target.exists() and not target.is_dir():
        raise FlagError("not a folder", where=copy_to, remedy="pass another --copy_to")
    if target.is_dir() and any(target.iterdir()):
        raise FlagError("the folder is not empty", where=copy_to, remedy="pass another --copy_to")
    root = os.path.realpath(found[0].root)
    if os.path.commonpath([root, os.path.realpath(os.fsencode(copy_to))]) == root:
        raise FlagError(
            "the folder lies in that of the pictures",
            where=copy_to,
            remedy="pass another --copy_to",
        )


def _copy(content: Content, class_name: str, target: Path) -> None:
    """Writes a picture into the folder of its class, below its path as it was."""
    folder = class_name.replace("/", "_")
    folder = folder if folder.strip(".") else f"_{folder}"  # neither . nor .. nor nothing
    path = target / folder / os.fsdecode(_inside(content.picture.path))
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True)
    with files.atomic_write(path, binary=True, durable=False) as file:
        file.write(content.original)


def _inside(path: bytes) -> bytes:
    """A relative path without what would lead out of the folder it is joined to."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b".", b".."))
