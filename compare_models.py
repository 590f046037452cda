r"""Compares models: how right they are, how fast they answer, and what they cost.

    python compare_models.py --runs=RUN,RUN,EXPORT --output_dir=comparison

Makes two tables, as text, CSV, JSON, an HTML page and pictures. Offline: accuracy, loss and other
metrics on a split of the dataset, parameters, FLOPs, size, times of training and evaluation.
Online: latency, speed, cold start, memory and CPU, each measured in fresh processes. The best of
each column is marked, and the models are named that no other one beats in both accuracy and
latency. With --random_init=NET,NET nets are compared by what they cost before any training.
"""

import tempfile
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from core import extras, files, script
from core.errors import FlagError
from core.flags import Group
from engine import flags
from nets.nets_factory import NETS, listing

_OF_RUNS = ("dataset_dir", "dataset_name", "dataset_split_name", "batch_size")
_OF_NETS = ("num_classes", "image_size")


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = Group("Models", flag_values)
    group.string(
        "runs",
        None,
        "Run directories (of each its newest checkpoint is taken), checkpoints and exports, "
        "separated by commas.",
    )
    group.string("random_init", None, "Nets to be compared untrained, separated by commas.")
    group.shown("list_models", "Show the nets, how large they are and what they cost.", listing)
    group.integer("num_classes", 1000, "Classes of the nets of --random_init.", lower=2)
    group.integer(
        "image_size",
        None,
        "Height and width of their pictures, pixels; default: the net's own.",
        lower=1,
        upper=flags.LARGEST_IMAGE,
    )
    group = Group("Output", flag_values)
    group.string("output_dir", "comparison", "Where the files are written.")
    group = Group("Dataset (default: that of the first run)", flag_values)
    group.string("dataset_dir", None, "Directory of the converted dataset; exports have none.")
    group.string("dataset_name", None, "Name that it was converted under.")
    group.string("dataset_split_name", "test", "Which split to score the models on.")
    group.integer("batch_size", 100, "Pictures that go through a net at a time.", lower=1)
    group = Group("Speed", flag_values)
    group.integer("repeats", 3, "Processes that measure each model; 0: none.", lower=0)
    group.float("seconds", 3.0, "Length of each measurement in a process.", lower=0.0)


def main(config: Any) -> None:
    """One comparison, top to bottom."""
    runs, nets = _listed(config.runs), _listed(config.random_init)
    check(config, runs, nets)
    extras.need("plots", "matplotlib")

    from inference.comparison import models, offline, online, writing

    with tempfile.TemporaryDirectory() as scratch:
        compared = models.gather(runs, nets, config, Path(scratch))
        dataset = models.dataset_of(compared, config)
        files.make_directory(config.output_dir)
        results = {
            name: offline.measure(model, dataset, config.batch_size)
            for name, model in compared.items()
        }
        speeds = None
        if config.repeats:
            paths = {name: model.path for name, model in compared.items()}
            pictures = models.write_pictures(compared, dataset, Path(scratch, "pictures"))
            speeds = online.measure(paths, pictures, config.repeats, config.seconds)
    found = writing.comparison(compared, dataset, results, speeds, config)
    written = writing.write(found, Path(config.output_dir))
    print(writing.text(found))
    print(f"wrote {len(written)} files to {config.output_dir}")


def _listed(value: str | None) -> list[str]:
    """The entries of a list with commas, without blanks around them."""
    return [entry.strip() for entry in (value or "").split(",") if entry.strip()]


def check(config: Any, runs: list[str], nets: list[str]) -> None:
    """FlagError for values of the flags that do not go together."""
    if not runs and not nets:
        raise FlagError("--runs or --random_init is needed", remedy="see --help")
    for net in nets:
        NETS[net]
        if nets.count(net) > 1:
            raise FlagError(f"--random_init names {net} twice")
    for needed, given, names in (("runs", runs, _OF_RUNS), ("random_init", nets, _OF_NETS)):
        for name in names:
            if name in config.given and not given:
                raise FlagError(f"--{name} goes with --{needed}", remedy="leave it out")


if __name__ == "__main__":
    script.run(main, define, __doc__)
