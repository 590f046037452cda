"""A checkpoint in one HDF5 file: `engine/hdf5.py` says what is in it."""

import dataclasses
from pathlib import Path

import numpy as np

from engine import checkpoints, hdf5, run_dir
from inference.source import Source


def write(source: Source, path: Path, _: list[bytes]) -> None:
    """Writes the model's variables, with their moving averages if it has these."""
    reader = checkpoints.reader(source.checkpoint)
    there = reader.get_variable_to_shape_map()
    averages = [f"{name}/ExponentialMovingAverage" for name in source.freezer.variable_names]
    names = [name for name in (*source.freezer.variable_names, *averages) if name in there]
    arrays = {name: reader.get_tensor(name) for name in names}
    arrays[hdf5.GLOBAL_STEP] = np.int64(source.step)
    recorded = run_dir.recorded(run_dir.place_of(source.checkpoint))
    hdf5.write(path, arrays, recorded or dataclasses.asdict(source.run))
