"""How fast pictures are converted to records, by the script that users call."""

import tempfile
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
    "peak MB": ".0f",
}


def run(config: Any, report: Report, scratch: Path) -> None:
    """Converts an archive and a folder."""
    section = report.section("convert", "Conversion", _COLUMNS)
    tiny = scratch / "tiny"
    data.photos(tiny, data.PHOTO_FOLDERS)
    no_splits = ["--validation_fraction=0", "--test_fraction=0"]
    start, _ = _converted([*_folder(tiny), *no_splits], scratch)
    section.note(
        f"The script alone, with {data.PHOTO_FOLDERS} pictures to convert, takes "
        f"{start.seconds:.1f} s; rates and cores are those of the time after that."
    )
    for source, flags in _sources(config, scratch):
        logging.info("converting: %s", source)
        usage, pictures = _converted(flags, scratch)
        seconds = usage.seconds - start.seconds
        cores = (usage.cpu_seconds - start.cpu_seconds) / seconds
        section.add(source, pictures, usage.seconds, pictures / seconds, cores, usage.peak_mb)


def _converted(flags: list[str], scratch: Path) -> tuple[workers.Usage, int]:
    """What a conversion took, and how many pictures it wrote."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        usage = workers.measured([SCRIPT, *flags, f"--dataset_dir={directory}"])
        splits = Dataset.read(Path(directory) / MANIFEST).splits.values()
    return usage, sum(split.samples for split in splits)


def _folder(folder: Path) -> list[str]:
    return ["--dataset_name=photos", f"--image_dir={folder}"]


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
    yield made, _folder(folder)
