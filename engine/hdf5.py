"""A checkpoint as one HDF5 file: an array per variable, and run.json inside.

The array of the variable `net/weights` is named `net/weights:0`, `net` being a group, so that any
HDF5 tool shows it. (Without the ending a variable and its moving average, `net/weights/Average`,
could not both be there.) Each array is stored with a checksum. The attributes of the file are
`run_json` (a text) and `variables` (the names, in order).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from core.errors import CheckpointError

ENDING = ".h5"
GLOBAL_STEP = "global_step"


def is_hdf5(path: str) -> bool:
    """Whether a path names such a checkpoint."""
    return path.endswith(ENDING)


def write(path: Path, variables: Mapping[str, np.ndarray], run: Mapping) -> None:
    """Writes a new file, at once: a disk that fills while HDF5 writes can end the process.

    Args:
        path: the file.
        variables: arrays by name, among them `global_step`.
        run: the content of run.json.
    """
    with h5py.File(path, "w", driver="core", backing_store=False) as file:  # in memory
        for name, value in variables.items():
            # A checksum takes storage in chunks, which scalars and empty arrays cannot have.
            file.create_dataset(
                _key(name), data=value, fletcher32=value.size > 0 and value.ndim > 0
            )
        file.attrs["run_json"] = json.dumps(run, ensure_ascii=False)
        file.attrs["variables"] = json.dumps(list(variables))
        file.flush()
        content = file.id.get_file_image()
    with path.open("xb") as file:
        file.write(content)


class Reader:
    """Reads such a file, by the methods of TensorFlow's reader of checkpoints.

    Args:
        path: the file.

    Raises:
        CheckpointError, from every method: the file is damaged or of another kind.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """The shapes of all arrays, by name."""
        with self._opened() as file:
            return {name: list(file[_key(name)].shape) for name in _names(file)}

    def get_tensor(self, name: str) -> np.ndarray:
        """One array."""
        with self._opened() as file:
            return np.asarray(file[_key(name)][()])

    def run_json(self) -> dict[str, Any]:
        """The content of run.json."""
        with self._opened() as file:
            return json.loads(file.attrs["run_json"])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self._path, "r") as file:
                yield file
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"damaged, or not an HDF5 checkpoint of this project: {error}", where=self._path
            ) from None


def _key(name: str) -> str:
    """The name of the array of a variable."""
    return f"{name}:0"


def _names(file: h5py.File) -> list[str]:
    return json.loads(file.attrs["variables"])
