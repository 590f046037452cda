"""Pictures to measure with, made on the fly: smooth shades with noise on them."""

import gzip
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

import datasets
from core.errors import FlagError
from datasets.spec import MANIFEST, Dataset, Example

NAME = "shades"
CLASSES = 10
SIZE = 32  # height and width, pixels
SPLITS = {"train": 5000, "test": 1000}  # pictures
PHOTO = (400, 500)  # height and width of the pictures in a folder, pixels
PHOTO_FOLDERS = 5
_NOISE = 32  # grey levels


class Converted(NamedTuple):
    """A dataset to train and evaluate on."""

    directory: str
    name: str
    num_classes: int


def shades(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Pictures, uint8 [count, height, width, 3]."""
    random = np.random.RandomState(seed)
    first, last = random.uniform(0, 255 - _NOISE, (2, count, 1, 1, 3))
    way = np.add.outer(np.linspace(0, 0.5, height), np.linspace(0, 0.5, width))[..., np.newaxis]
    smooth = (first + (last - first) * way).astype(np.uint8)
    return smooth + random.randint(0, _NOISE, smooth.shape, np.uint8)


def dataset(config: Any, scratch: Path) -> Converted:
    """The dataset of --dataset_dir, or one that is made unless it is there.

    Raises:
        FlagError, DataError: --dataset_dir holds no dataset with a train and a test split.
    """
    directory = Path(config.dataset_dir or scratch / "dataset")
    if not (config.dataset_dir or directory.exists()):
        convert(directory, SPLITS)
    if not (directory / MANIFEST).is_file():
        raise FlagError(
            f"--dataset_dir={directory} holds no {MANIFEST}",
            remedy="convert a dataset with download_and_convert_data.py",
        )
    found = Dataset.read(directory / MANIFEST)
    for split in SPLITS:
        datasets.load(str(directory), found.name, split)
    return Converted(str(directory), found.name, len(found.class_names))


def convert(directory: Path, splits: Mapping[str, int]) -> None:
    """Makes a dataset of PNG pictures.

    Args:
        directory: where.
        splits: name -> how many pictures.
    """
    from datasets import conversion, tfrecord

    def examples() -> Iterator[tuple[str, Example]]:
        for seed, (split, count) in enumerate(splits.items()):
            encoded = tfrecord.encode_png([shades(count, SIZE, SIZE, seed)])
            for number, png in enumerate(encoded):
                yield split, Example(png, "png", SIZE, SIZE, number % CLASSES)

    names = tuple(f"shade{number}" for number in range(CLASSES))
    conversion.convert(NAME, conversion.Source(names, {}, examples), str(directory))


def archive(path: Path) -> None:
    """Writes an archive with the layout and the sizes of CIFAR-10's."""
    from datasets import cifar10

    with (
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for seed, name in enumerate(cifar10.MEMBERS):
            pixels = shades(cifar10.ROWS, SIZE, SIZE, seed).transpose(0, 3, 1, 2)
            labels = (np.arange(cifar10.ROWS) % CLASSES).astype(np.uint8).reshape(-1, 1)
            rows = np.hstack([labels, pixels.reshape(cifar10.ROWS, -1)]).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(rows)
            tar.addfile(member, io.BytesIO(rows))


def photos(folder: Path, count: int) -> None:
    """Writes JPEG files into one folder per class."""
    for number in range(count):
        directory = folder / f"shade{number % PHOTO_FOLDERS}"
        directory.mkdir(parents=True, exist_ok=True)
        picture = PIL.Image.fromarray(shades(1, *PHOTO, seed=number)[0])
        picture.save(directory / f"{number}.jpg", quality=90)
