"""A checkpoint in one HDF5 file: `engine/hdf5.py` says what is in it."""

import dataclasses
from pathlib import Path

from engine import checkpoints, hdf5, run_dir
from inference.source import Source


def write(source: Source, path: Path, _: list[bytes]) -> None:
    """Writes the model's variables, with their moving averages if it has these."""
    reader = checkpoints.reader(source.checkpoint)
    there = reader.get_variable_to_shape_map()
    averages = [f"{name}/ExponentialMovingAverage" for name in source.freezer.variable_names]
    names = [name for name in (*source.freezer.variable_names, *averages) if name in there]
    hdf5.write(
        path,
        {name: reader.get_tensor(name) for name in names},
        run_dir.recorded(run_dir.place_of(source.checkpoint)) or dataclasses.asdict(source.run),
        source.step,
    )
