r"""Classifies the pictures of a folder, into a table.

    python classify_images.py --checkpoint_path=RUN --images=FOLDER --output=predictions.csv

A row per picture: path, class, probability, the next classes, and, for a file that is no readable
picture, why. How pictures are prepared and what the classes are called is read from the run or
from the export. A name that ends in .json makes JSON lines of it.
"""

import contextlib
import time
from typing import Any

from absl import flags as absl_flags
from absl import logging

from core import script
from core.errors import DataError, FlagError
from core.flags import Group
from engine import flags


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = Group("Classification", flag_values)
    group.string(
        "checkpoint_path",
        None,
        "Run directory (its newest checkpoint is taken), checkpoint, export.",
    )
    group.string("images", None, "Folder (with all below it), pattern such as 'a/*.jpg', or file.")
    group.string("output", "predictions.csv", "CSV file, or JSON lines if it ends in .json.")
    group.integer("top_k", 5, "Classes per picture, best first.", lower=1)
    group.string("copy_to", None, "Copy each picture into the folder of its class in there.")
    group.integer("batch_size", 50, "Pictures that go through the net at a time.", lower=1)
    group.boolean("allow_errors", False, "Exit with 0 although files are no readable pictures.")
    group.boolean(
        "escape_formulas", True, "CSV: a ' before text that a spreadsheet takes for a formula."
    )
    flags.define_image_limits(group)
    flags.define_machine(flag_values)


def main(config: Any) -> None:
    """One classification, top to bottom."""
    if not config.checkpoint_path or not config.images:
        raise FlagError("--checkpoint_path and --images are needed", remedy="see --help")

    from inference import classification, pictures, predictor

    found = pictures.find(config.images)
    if config.copy_to:
        classification.check_copy_to(config.copy_to, found)
    machine = predictor.Machine(config.inter_op_threads, config.intra_op_threads, config.master)
    started = time.monotonic()
    with contextlib.closing(predictor.open_model(config.checkpoint_path, machine)) as model:
        logging.info("Classifying with %s", model.model.source)
        summary = classification.classify(model, found, config)
    seconds = time.monotonic() - started
    print(f"{summary.count} pictures in {seconds:.1f} s: {config.output}")
    if summary.unreadable and not config.allow_errors:
        raise DataError(
            f"{summary.unreadable} of {summary.count} are no readable pictures, "
            f"the first: {summary.first_problem}",
            where=config.output,
            remedy="see its column error; --allow_errors takes it for a success",
        )


if __name__ == "__main__":
    script.run(main, define, __doc__)
