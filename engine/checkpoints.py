"""Checkpoints: found, written and read back.

A checkpoint is model.ckpt-N.index with its .data and .meta files, as tf.train.Saver writes them,
so that TF-Slim's tools read ours and the other way round. Beside them stands model.ckpt-N.sha256
with the checksums of the three, as the sha256sum tool writes and checks them. Which checkpoints
exist is told by the files themselves; the text file `checkpoint` is written for other tools and
never trusted. A single file of the format in hdf5.py is read as a checkpoint, too.
"""

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from core import files
from core.compat import tf
from core.errors import CheckpointError, FlagError
from engine import hdf5, model

NAME = "model.ckpt"
SUMS = ".sha256"
_ENDING = r"\.(index|meta|sha256|data-\d+-of-\d+)$"
HISTORY = "history/state"  # a variable that runs of before there was a history do not have
# What TensorFlow raises for a damaged checkpoint: a ValueError for a text that it cannot decode, an
# IndexError where a file ends too early, a RuntimeError for what it has no class for.
_UNREADABLE = (tf.errors.OpError, ValueError, IndexError, RuntimeError)


def steps(directory: Path) -> list[int]:
    """The steps of which a directory holds a checkpoint, in ascending order."""
    found = (
        re.fullmatch(rf"{re.escape(NAME)}-(\d+)\.index", path.name)
        for path in directory.glob(f"{NAME}-*.index")
    )
    return sorted(int(match[1]) for match in found if match)


def prefix(directory: Path, step: int) -> str:
    """The path of a checkpoint as TensorFlow's tools name it: without an ending."""
    return str(directory / f"{NAME}-{step}")


def step_of(path: str) -> int | None:
    """The global step in a checkpoint's name, or in its HDF5 file; None if there is none."""
    if hdf5.is_hdf5(path):
        return int(hdf5.Reader(path).get_tensor(hdf5.GLOBAL_STEP))
    match = re.search(r"-(\d+)$", path)
    return int(match[1]) if match else None


def candidates(path: str) -> list[str]:
    """The checkpoints that a path can mean, as prefixes, the first choice first.

    Args:
        path: a directory (its newest checkpoint is meant, or if that is damaged the one before), a
            checkpoint's prefix, any one of its files, an HDF5 file, or a single file of the format
            that TF-Slim's oldest checkpoints have.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    if Path(path).is_dir():
        found = [prefix(Path(path), step) for step in reversed(steps(Path(path)))]
        # A checkpoint of other tools may have any name; then the state file is all there is.
        found = found or list(filter(None, [tf.train.latest_checkpoint(path)]))
        if not found:
            raise CheckpointError("no checkpoint in the directory yet", where=path)
        return found
    stripped = re.sub(_ENDING, "", path)
    if not (Path(f"{stripped}.index").is_file() or Path(stripped).is_file()):
        raise CheckpointError(
            "no such checkpoint",
            where=path,
            remedy="pass a run directory or a prefix such as DIR/model.ckpt-1234",
        )
    return [stripped]


def resolve(path: str) -> str:
    """The first of the `candidates` that is intact; those before it are warned about.

    Raises:
        CheckpointError: there is no checkpoint, or none that is intact.
    """
    found = candidates(path)
    for checkpoint in found:
        try:
            check_intact(checkpoint)
        except CheckpointError as error:
            if checkpoint not in candidates(path):  # deleted by a training that goes on
                return resolve(path)
            if checkpoint == found[-1]:
                raise
            logging.warning("%s; falling back to the checkpoint before", error)
        else:
            break
    return checkpoint


def check_intact(path: str) -> None:
    """Compares the files of a checkpoint with their checksums.

    A checkpoint of other tools has no .sha256 file. Then its variables are read, against the
    checksums that TensorFlow keeps of each.

    Raises:
        CheckpointError: the checkpoint is damaged; the file is named.
    """
    sums = Path(f"{path}{SUMS}")
    if not sums.exists():
        _read_all(path)
        return
    files.check_sums(sums, [file for file in files_of(path) if file != sums])


def _read_all(path: str) -> None:
    try:
        opened = reader(path)
        for name in opened.get_variable_to_shape_map():
            opened.get_tensor(name)
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(f"damaged checkpoint: {reason(error)}", where=path)


def reason(error: Exception) -> str:
    """The first line of what TensorFlow or the operating system says."""
    text = getattr(error, "strerror", None) or getattr(error, "message", str(error))
    return text.split("\n")[0]


def files_of(path: str) -> list[Path]:
    """All files of a checkpoint, given as its prefix; the index first."""
    if hdf5.is_hdf5(path):
        return [Path(path)]
    found = Path(path).parent.glob(f"{glob.escape(Path(path).name)}.*")
    ours = (file for file in found if re.search(_ENDING, file.name))
    return sorted(ours, key=lambda file: (file.suffix != ".index", file.name))


def restorer(variables: dict[str, tf.Variable]) -> Callable[[tf.Session, str], None]:
    """A function of (session, checkpoint) that reads variables, given by their names there.

    It raises CheckpointError if the checkpoint is damaged.
    """
    saver = tf.train.Saver(variables)

    def restore(session: tf.Session, path: str) -> None:
        try:
            if hdf5.is_hdf5(path):
                _assign(session, variables, hdf5.Reader(path))
            else:
                saver.restore(session, path)
        except _UNREADABLE as error:
            raise _damaged(path, error) from None

    return restore


def _assign(session: tf.Session, variables: dict[str, tf.Variable], reader: hdf5.Reader) -> None:
    """Gives variables the values of the arrays with their names."""
    # An initializer assigns its second input.
    values = {variable.initializer: reader.get_tensor(name) for name, variable in variables.items()}
    session.run(list(values), {assign.inputs[1]: value for assign, value in values.items()})


def check_fits(path: str, variables: dict[str, tf.Variable], config: Any) -> list[str]:
    """Compares a checkpoint with variables by name and shape.

    Args:
        path: the checkpoint.
        variables: by their names in the checkpoint.
        config: read here: model_name, and what `model.head_names` reads.

    Returns:
        The names that the checkpoint lacks.

    Raises:
        FlagError: none of the variables is in it, or one has another shape.
        CheckpointError: the checkpoint cannot be read.
    """
    shapes = shapes_of(path)
    missing = [name for name in variables if name not in shapes]
    if len(missing) == len(variables):
        there = sorted({name.split("/")[0] for name in shapes})
        raise FlagError(
            f"the checkpoint holds no variable of {config.model_name}, but {', '.join(there[:5])}",
            where=path,
            remedy="check --model_name",
        )
    here = {name: variable.shape.as_list() for name, variable in variables.items()}
    wrong = [name for name in here if shapes.get(name, here[name]) != here[name]]
    for name in model.head_names(wrong, config)[-1:]:
        there, ours = shapes[name][-1], here[name][-1]
        if there != ours:
            raise FlagError(
                f"the checkpoint has {there} classes, the dataset {ours}",
                where=path,
                remedy="check --dataset_name and --labels_offset",
            )
    for name in wrong:
        there, ours = shapes[name], here[name]
        raise FlagError(
            f"{name} is {there} in the checkpoint, {ours} here",
            where=path,
            remedy=_remedy_of_channels(there, ours),
        )
    return missing


def _remedy_of_channels(there: list[int], here: list[int]) -> str:
    """What to do if a layer that takes pictures takes grey ones on one side, else nothing."""
    if len(there) != 4 or {there[2], here[2]} != {1, 3}:
        return ""
    return (
        f"it takes pictures of {there[2]} channels there and of {here[2]} here; "
        "see --use_grayscale, or exclude its scope"
    )


def shapes_of(path: str) -> dict[str, list[int]]:
    """The shapes of all variables of a checkpoint, by name.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return reader(path).get_variable_to_shape_map()
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def reader(path: str) -> Any:
    """What reads the variables of a checkpoint: an object with the methods of `hdf5.Reader`."""
    return hdf5.Reader(path) if hdf5.is_hdf5(path) else tf.train.load_checkpoint(path)


def value(path: str, name: str) -> np.ndarray | None:
    """A variable of a checkpoint, None if it has none of that name.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    try:
        opened = reader(path)
        return opened.get_tensor(name) if opened.has_tensor(name) else None
    except _UNREADABLE as error:
        raise _damaged(path, error) from None
