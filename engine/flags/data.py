"""The flags of the data: which split, how it is read, in what size."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group
from datasets.dataset_factory import DATASETS
from engine.flags.run import MOST_THREADS

LARGEST_IMAGE = 10_000  # 1.2 GB each, as float32 RGB


def define_dataset(flag_values: absl_flags.FlagValues, split: str, batch_size: int) -> None:
    """Which split is read, and how many pictures at a time."""
    group = Group("Dataset", flag_values)
    group.string(
        "dataset_name",
        "imagenet",
        f"{', '.join(DATASETS)}, or the name that a dataset of your own was converted under.",
    )
    group.string("dataset_split_name", split, "Which split to read.")
    group.string(
        "dataset_dir", None, "Directory of the converted dataset; evaluation: default the run's."
    )
    group.integer("batch_size", batch_size, "Pictures per step.", lower=1)
    group.integer(
        "num_preprocessing_threads",
        4,
        "Threads that decode pictures.",
        lower=1,
        upper=MOST_THREADS,
    )


def define_training_data(flag_values: absl_flags.FlagValues) -> None:
    """How the pictures of a training are read and prepared."""
    group = Group("Training data", flag_values)
    group.integer(
        "num_readers",
        4,
        "Record files that are read side by side; it has a part in the order of the pictures.",
        lower=1,
        upper=MOST_THREADS,
    )
    group.boolean(
        "cache_decoded_images",
        True,
        "Keep decoded pictures in memory from the first epoch on, if half of it holds all of them.",
    )
    group.integer(
        "train_image_size",
        None,
        "Height and width in pixels; default: the net's own.",
        lower=1,
        upper=LARGEST_IMAGE,
    )
    group.string(
        "image_size_schedule",
        None,
        "Sizes to begin with and the epoch at which each ends, for example 16:4,24:8; then follows "
        "--train_image_size.",
    )


def image_sizes(config: Any) -> list[tuple[int, float]]:
    """--image_size_schedule: sizes in pixels, each with the epoch at which it ends, in order.

    Raises:
        FlagError: it is no such list, or the epochs do not rise.
    """
    sizes, last = [], 0.0
    for stage in (
        (config.image_size_schedule or "").split(",") if config.image_size_schedule else ()
    ):
        size, _, end = stage.partition(":")
        try:
            sizes.append((int(size), float(end)))
        except ValueError:
            sizes.append((0, 0.0))
        if not (1 <= sizes[-1][0] <= LARGEST_IMAGE and last < sizes[-1][1] < float("inf")):
            raise FlagError(
                f"--image_size_schedule={config.image_size_schedule}: {stage!r} is not a size and "
                f"an epoch after {last:g}",
                remedy="pass for example 16:4,24:8",
            )
        last = sizes[-1][1]
    return sizes


def define_image_limits(group: Group) -> None:
    """The flags that keep files which are too large from being read, and from being decoded."""
    group.integer("max_file_mb", 64, "Larger files are refused unread, in 10^6 bytes.", lower=1)
    group.integer(
        "max_image_pixels", 64_000_000, "Larger pictures are refused before decoding.", lower=1
    )
