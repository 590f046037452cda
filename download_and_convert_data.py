"""Converts pictures to TFRecord files that train_image_classifier.py reads.

    python download_and_convert_data.py --dataset_name=cifar10 --dataset_dir=DIR
    python download_and_convert_data.py --dataset_name=phase_diagrams --dataset_dir=DIR
    python download_and_convert_data.py --dataset_name=NAME --dataset_dir=DIR --image_dir=FOLDER
    python download_and_convert_data.py --verify --dataset_dir=DIR

NAME is any name you like; FOLDER holds one sub-folder per class. The last command reads a dataset
that is there, record by record, and says all that is wrong with it.
"""

from typing import Any

from absl import flags as absl_flags
from absl import logging

from core import flags, script
from core.errors import DataError, FlagError
from core.registry import load
from datasets.dataset_factory import DATASETS, Known
from engine.flags import define_image_limits


def define_flags(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = flags.Group("Dataset", flag_values)
    converters = ", ".join(name for name in DATASETS if DATASETS[name].downloads)
    group.string(
        "dataset_name", None, f"{converters}, or any name for a folder given by --image_dir."
    )
    group.string("dataset_dir", None, "Directory in which the dataset is written.")
    group.boolean(
        "verify",
        False,
        "Convert nothing; look for damage in --dataset_dir. It needs --dataset_name only for data "
        "that research/slim wrote.",
    )
    group.boolean("overwrite", False, "Replace a different dataset in --dataset_dir.")
    group.integer("num_shards", 5, "Record files per split; cifar10 and mnist have one.", lower=1)

    group = flags.Group("Archive (cifar10, mnist)", flag_values)
    group.string(
        "source_archive",
        None,
        "Local copy of the archive (cifar10: cifar-10-binary.tar.gz) or folder of idx.gz files "
        "(mnist), instead of a download.",
    )
    group.string("archive_sha256", None, "Checksum that --source_archive must have.")

    group = flags.Group("Folder of pictures", flag_values)
    group.string("image_dir", None, "Folder with one sub-folder of pictures per class.")
    group.choice(
        "on_bad_image",
        "fail",
        ("fail", "skip"),
        "What to do about a picture that cannot be read: stop, or leave it out and list it in "
        "skipped.csv.",
    )
    group.float(
        "max_bad_fraction",
        0.01,
        "With --on_bad_image=skip, the share of bad pictures above which the conversion fails.",
        lower=0.0,
        upper=1.0,
    )
    define_image_limits(group)
    group.boolean(
        "merge_case",
        False,
        "Take class folders that look alike, such as Cat and cat, for one class, named by the "
        "first in byte order.",
    )
    group.boolean("allow_empty_class", False, "Keep the label of a class without any file.")
    group.boolean("allow_single_class", False, "Take a folder with one class only.")

    group = flags.Group("Split", flag_values)
    group.float("validation_fraction", 0.1, "Share of the validation split.", lower=0.0, upper=0.9)
    group.integer(
        "validation_pictures",
        0,
        "cifar10: so many pictures of the training split, its last, become the split validation.",
        lower=0,
        upper=40_000,
    )
    group.float("test_fraction", 0.2, "Share of the test split.", lower=0.0, upper=0.9)
    group.integer("seed", 0, "Decides which picture goes to which split, and their order.", lower=0)


def check(config: Any) -> None:
    """FlagError for flags that contradict each other."""
    if config.verify:
        _check_verify(config)
        return
    if not config.dataset_name:
        raise FlagError("You must supply the dataset name with --dataset_name")
    if not config.dataset_dir:
        raise FlagError("You must supply the dataset directory with --dataset_dir")
    if config.archive_sha256 and not config.source_archive:
        raise FlagError("--archive_sha256 goes with --source_archive")
    if config.validation_fraction + config.test_fraction > 0.9:
        raise FlagError("--validation_fraction and --test_fraction leave too little to train on")
    if config.validation_pictures and config.dataset_name != "cifar10":
        raise FlagError(
            "--validation_pictures goes with --dataset_name=cifar10",
            remedy="for pictures of your own pass --validation_fraction",
        )
    known = DATASETS.get(config.dataset_name)
    if known and known.downloads and config.image_dir:
        raise FlagError(
            f"--image_dir does not go with --dataset_name={config.dataset_name}",
            remedy="choose a name of your own for the folder",
        )
    if not (known and known.downloads) and not config.image_dir:
        raise FlagError(
            f"dataset_name [{config.dataset_name}] was not recognized.",
            remedy="for pictures of your own pass --image_dir; the others are "
            + ", ".join(name for name in DATASETS if DATASETS[name].downloads),
        )


def _check_verify(config: Any) -> None:
    if not config.dataset_dir:
        raise FlagError("You must supply the dataset directory with --dataset_dir")
    if others := config.given - {"verify", "dataset_dir", "dataset_name", "debug"}:
        raise FlagError(f"--{min(others)} is for converting, --verify only looks")


def main(config: Any) -> None:
    """Looks up the converter, runs it, and prints what was written; or verifies what is there."""
    check(config)
    if config.verify:
        verify(config.dataset_dir, config.dataset_name)
        return
    from datasets import conversion

    known = DATASETS.get(config.dataset_name, Known())
    source = load(known.converter)(config)
    result = conversion.convert(
        config.dataset_name, source, config.dataset_dir, overwrite=config.overwrite
    )
    if not result.written:
        logging.info("Dataset files already exist. Exiting without re-creating them.")
    print_splits(result.dataset)
    classes = result.dataset.class_names
    print(f"{len(classes)} classes: {', '.join(classes[:10])}{', ...' if classes[10:] else ''}")
    for skipped in result.skipped:
        logging.warning("skipped %s: %s", skipped.path, skipped.reason)
    if result.written:
        print(f"Finished converting the {config.dataset_name} dataset to {config.dataset_dir}")


def verify(dataset_dir: str, dataset_name: str | None) -> None:
    """Prints all that is wrong with a dataset, or that nothing is.

    Raises:
        DataError: something is wrong.
    """
    from datasets import verification

    dataset, faults, warnings = verification.verify(dataset_dir, dataset_name)
    for warning in warnings:
        logging.warning("%s", warning)
    for fault in faults:
        print(f"{fault.what} ({fault.where})")
    if faults:
        raise DataError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} found, the first: "
            f"{faults[0].what}",
            where=faults[0].where,
            remedy=faults[0].remedy,
        )
    print_splits(dataset)
    print(f"No fault found in the {dataset.name} dataset in {dataset_dir}")


def print_splits(dataset: Any) -> None:
    """Prints how large each split of a dataset is."""
    for name, split in dataset.splits.items():
        shards = f"{len(split.shards)} file{'s' if len(split.shards) > 1 else ''}"
        print(f"{name}: {split.samples} images in {shards}, {split.bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    script.run(main, define_flags, __doc__)
