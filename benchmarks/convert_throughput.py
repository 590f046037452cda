"""How fast pictures are converted to records, by the script that users call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from benchmarks import data, workers
from benchmarks.report import Report
from datasets.spec import MANIFEST, Dataset

SCRIPT = "download_and_convert_data.py"
_COLUMNS = {
    "source": "",
    "pictures": "d",
    "seconds": ".1f",
    "pictures/s": ".0f",
    "cores used": ".2f",
}


def run(config: Any, report: Report, scratch: Path) -> None:
    """Converts an archive and a folder."""
    section = report.section("convert", "Conversion", _COLUMNS)
    section.note("The whole script is timed, its start included.")
    for source, flags in _sources(config, scratch):
        logging.info("converting: %s", source)
        directory = scratch / f"converted{len(section.rows)}"
        usage = workers.measured([SCRIPT, *flags, f"--dataset_dir={directory}"])
        splits = Dataset.read(directory / MANIFEST).splits.values()
        pictures = sum(split.samples for split in splits)
        rate, cores = pictures / usage.seconds, usage.cpu_seconds / usage.seconds
        section.add(source, pictures, usage.seconds, rate, cores)


def _sources(config: Any, scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """What is converted, and the flags for it."""
    archive = config.source_archive
    if not archive:
        archive = scratch / "cifar-10-binary.tar.gz"
        logging.info("making an archive")
        data.archive(archive)
    made = "archive" if config.source_archive else "archive, made up"
    flags = ["--dataset_name=cifar10", f"--source_archive={archive}"]
    if config.archive_sha256:
        flags.append(f"--archive_sha256={config.archive_sha256}")
    yield f"CIFAR-10 {made}", flags
    folder = config.image_dir
    if not folder:
        folder = scratch / "photos"
        logging.info("making %d JPEG files", config.photos)
        data.photos(folder, config.photos)
    height, width = data.PHOTO
    made = "folder" if config.image_dir else f"folder, made up, JPEG {width}x{height}"
    yield made, ["--dataset_name=photos", f"--image_dir={folder}"]
