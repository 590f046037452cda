"""A sheet of pictures as training is fed of them, to look at before (--preview_augmentation)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from absl import logging

from core import files
from core.compat import tf
from core.errors import MachineError
from datasets.spec import LoadedSplit
from engine import input_pipeline, mixing, sessions
from preprocessing import preprocessing_factory

ROWS = 8  # pictures
EPOCHS = 7
# Sides of a picture on the sheet, pixels: small ones are magnified, so that all of theirs are seen.
SMALLEST_CELL = 112
LARGEST_CELL = 256
_GAP = 6
_FONT_SIZE = 13
_LINE = 20  # height of a caption
_NAME_LENGTH = 16  # characters of a class name
_NAMES_WIDTH = 130  # of the captions of the rows


def write(path: str, dataset: LoadedSplit, config: Any) -> None:
    """Writes the sheet of a split as a PNG file.

    A row for each of its first ROWS pictures. The first column is what evaluation sees of it, the
    others what training would be fed of this record in the first EPOCHS epochs, mixed, if the flags
    say so, with the others of the column, whose number counts as the step.

    Args:
        path: where to; ends in .png.
        dataset: the split.
        config: read here: preprocessing_name, labels_offset, and what
            `input_pipeline.first_pictures`, `mixing.mixed` and `sessions.session` read.

    Raises:
        DataError: a record is damaged; file and record are named.
        MachineError: the file cannot be written.
    """
    columns, labels = _columns(dataset, config)
    names = [dataset.class_names[label + config.labels_offset] for label in labels]
    heads = ["evaluation", *(f"epoch {epoch}" for epoch in range(EPOCHS))]
    to_pixels = preprocessing_factory.get_to_pixels(config.preprocessing_name)
    drawn = sheet([to_pixels(column) for column in columns], heads, names)
    try:
        with files.atomic_write(path, binary=True) as file:
            drawn.save(file, "PNG")
    except OSError as error:
        raise MachineError(f"cannot write the sheet: {error.strerror}", where=path) from None
    logging.info("Wrote %s.", path)


def _columns(dataset: LoadedSplit, config: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures of evaluation and of each epoch, float32 [N, size, size, channels]; labels [N]."""
    with (
        tf.Graph().as_default(),
        sessions.session(config) as session,
        input_pipeline.damage_named(dataset, config.labels_offset),
    ):
        epoch = tf.train.create_global_step()
        plain, fed = (
            input_pipeline.first_pictures(dataset, config, ROWS, is_training)
            for is_training in (False, True)
        )
        targets = tf.one_hot(fed.labels, dataset.num_classes - config.labels_offset)
        images, _ = mixing.mixed(fed.images, targets, config)
        next_epoch = epoch.assign_add(1)
        session.run(epoch.initializer)
        session.run(plain.start)
        shown, labels = session.run((plain.images, plain.labels))
        columns = [shown]
        for _ in range(EPOCHS):
            session.run(fed.start)
            columns.append(session.run(images))
            session.run(next_epoch)
    return columns, labels


def sheet(
    columns: Sequence[np.ndarray], heads: Sequence[str], names: Sequence[str]
) -> PIL.Image.Image:
    """Draws columns of pictures, with a caption above each column and before each row.

    Args:
        columns: of each, uint8 [N, size, size, 1 or 3].
        heads: a caption for each column.
        names: a caption for each of the N rows.
    """
    size = columns[0].shape[1]
    cell = min(size * math.ceil(SMALLEST_CELL / size), LARGEST_CELL)
    pitch = cell + _GAP
    drawn = PIL.Image.new(
        "RGB", (_NAMES_WIDTH + pitch * len(columns), _LINE + pitch * len(names)), "white"
    )
    draw = PIL.ImageDraw.Draw(drawn)
    font = PIL.ImageFont.load_default(_FONT_SIZE)
    for number, (head, column) in enumerate(zip(heads, columns, strict=True)):
        left = _NAMES_WIDTH + pitch * number
        draw.text((left + cell // 2, _LINE // 2), head, "black", font, anchor="mm")
        for row, picture in enumerate(column):
            drawn.paste(_fitted(picture, cell), (left, _LINE + pitch * row))
    for row, name in enumerate(names):
        place = (_GAP, _LINE + pitch * row + cell // 2)
        draw.text(place, _short(name), "black", font, anchor="lm")
    return drawn


def _fitted(picture: np.ndarray, cell: int) -> PIL.Image.Image:
    """A picture in the size of a cell, of whole pixels if it is magnified."""
    image = PIL.Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
    method = PIL.Image.Resampling.BOX if image.width > cell else PIL.Image.Resampling.NEAREST
    return image.resize((cell, cell), method)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
