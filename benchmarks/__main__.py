"""Measures how fast everything is, side by side with Keras and PyTorch where these are installed.

    python -m benchmarks [--only=train,eval] [--quick] [--output=bench.json]

The tables come last, in one report; the JSON file holds the seconds of each round, too. It takes
about two hours; --quick sees in some minutes whether all works, and its numbers say little.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags
from rich.console import Console

from benchmarks import (
    convert_throughput,
    eval_throughput,
    machine,
    report,
    scaling,
    startup,
    step_profile,
    train_throughput,
)
from core import files, flags, script
from core.errors import FlagError
from engine.flags import LARGEST_IMAGE
from nets.nets_factory import NETS

PARTS = {
    "train": train_throughput.run,
    "profile": step_profile.run,
    "eval": eval_throughput.run,
    "convert": convert_throughput.run,
    "startup": startup.run,
    "scaling": scaling.run,
}
QUICK = {"sizes": "32", "rounds": 1, "steps": 2, "starts": 1, "photos": 100}


def define_flags(flag_values: absl_flags.FlagValues) -> None:
    """The flags of the benchmarks."""
    group = flags.Group("Benchmarks", flag_values)
    group.string("only", ",".join(PARTS), "What to measure, separated by commas.")
    group.string("output", "bench.json", "Where the results are written, as JSON.")
    group.boolean(
        "quick",
        False,
        f"Instead of the defaults: {', '.join(f'--{k}={v}' for k, v in QUICK.items())}; only two "
        "values of each axis of scaling.",
    )
    group.integer("rounds", 5, "How often all contestants have their turn.", lower=1)
    group.integer("steps", 10, "Steps of a contestant in its turn.", lower=1)

    group = flags.Group("Training and evaluation", flag_values)
    group.string("nets", "inception_v1,resnet_v1_50,mobilenet_v1", "Separated by commas.")
    group.string("sizes", "32,224", "Height and width in pixels, separated by commas.")
    group.integer("batch_size", 50, "Pictures per training step.", lower=1)
    group.integer("eval_batch_size", 100, "Pictures per batch of evaluation.", lower=1)
    group.string(
        "dataset_dir", None, "Converted dataset with a train and a test split; default: made up."
    )
    group.choice(
        "mixed_precision",
        "off",
        ("off", "bfloat16"),
        "bfloat16: all contestants train in it, each as its library does; evaluation never.",
    )
    group.string("torch_python", sys.executable, "Interpreter that has PyTorch.")

    group = flags.Group("Conversion", flag_values)
    group.string("source_archive", None, "cifar-10-binary.tar.gz; default: made up.")
    group.string("archive_sha256", None, "Checksum that --source_archive must have.")
    group.string("image_dir", None, "Folder with one sub-folder per class; default: made up.")
    group.integer("photos", 2000, "Pictures in the folder that is made up.", lower=10)

    group = flags.Group("Start-up", flag_values)
    group.integer("starts", 5, "How often each command is started.", lower=1)

    group = flags.Group("Scaling", flag_values)
    group.string("scaling_net", "mobilenet_v1", "The net that is trained.")
    group.string("picture", None, "PNG file to draw the curves into; needs matplotlib.")


def settled(config: Any) -> Any:
    """The configuration with its lists taken apart and --quick applied.

    Raises:
        FlagError: a value that is not known, or a file that cannot be written or is not there.
    """
    if config.quick:
        defaults = {name: value for name, value in QUICK.items() if name not in config.given}
        config = dataclasses.replace(config, **defaults)
    config = dataclasses.replace(
        config,
        only=_listed("only", config.only),
        nets=_listed("nets", config.nets),
        sizes=[_size(text) for text in _listed("sizes", config.sizes)],
    )
    for part in config.only:
        if part not in PARTS:
            raise FlagError(f"--only={part} is not known", remedy=f"known: {', '.join(PARTS)}")
    for net in [*config.nets, config.scaling_net]:
        NETS[net]
    for flag in ("output", "picture"):
        path = getattr(config, flag)
        if path and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            raise FlagError(f"--{flag}={path} is not a file in a directory that is there")
    if not shutil.which(config.torch_python):
        raise FlagError(f"--torch_python={config.torch_python} is not a program")
    scaling.check(config)
    return dataclasses.replace(config, **_inputs(config))


def _inputs(config: Any) -> dict[str, str]:
    """The files and directories that are read, as absolute paths: contestants run elsewhere."""
    given = {flag: getattr(config, flag) for flag in ("dataset_dir", "source_archive", "image_dir")}
    given["torch_python"] = shutil.which(config.torch_python)
    paths = {flag: os.path.abspath(path) for flag, path in given.items() if path}
    for flag, path in paths.items():
        if not os.path.exists(path):
            raise FlagError(f"--{flag}={given[flag]} is not there")
    return paths


def _listed(flag: str, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise FlagError(f"--{flag} names nothing")
    return names


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_IMAGE:
        raise FlagError(f"--sizes: {text!r} is not a number of pixels up to {LARGEST_IMAGE}")
    return int(text)


def main(config: Any) -> None:
    """Measures, prints the report, and writes it. If that is stopped, what was found so far."""
    config = settled(config)
    found = report.Report(machine.facts(), _settings(config))
    try:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
            for name in config.only:
                PARTS[name](config, found, Path(scratch))
    finally:
        if not found.is_empty():
            found.print(Console(width=None if sys.stdout.isatty() else report.WIDTH))
            files.write_text(config.output, found.to_json())
            print(f"written to {config.output}")


def _settings(config: Any) -> dict[str, Sequence | int | str]:
    settings = dataclasses.asdict(config)
    return {name: settings[name] for name in settings if name not in ("given", "debug")}


if __name__ == "__main__":
    script.run(main, define_flags, __doc__)
