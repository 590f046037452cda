"""How fast we train, beside Keras and PyTorch; how near that is to the machine, what input costs.

All take whole steps of the same batch size with the same optimizer, on the same pictures. Ours
reads them from record files, decodes and augments them in every step. The peers get them from
memory, decoded and of the right size, which favours them.
"""

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from benchmarks import data, machine, workers
from benchmarks.report import Report, Section
from benchmarks.workers import NotInstalledError, Turn, Worker
from core.errors import MachineError
from engine import keras_weights

OPTIMIZER = {"momentum": 0.9, "learning_rate": 0.001}  # SGD; the rate has no part in the speed
OURS, KERAS, TORCH = "ours", "Keras fit", "PyTorch eager"

# The nets as PyTorch has them, library and name; what is not listed it has not.
_TORCH = {
    "inception_v1": ("torchvision", "googlenet"),
    "inception_v3": ("torchvision", "inception_v3"),
    "resnet_v1_18": ("torchvision", "resnet18"),
    "resnet_v1_34": ("torchvision", "resnet34"),
    "resnet_v1_50": ("torchvision", "resnet50"),
    "resnet_v1_101": ("torchvision", "resnet101"),
    "resnet_v1_152": ("torchvision", "resnet152"),
    "mobilenet_v1": ("timm", "mobilenetv1_100"),
    "mobilenet_v2": ("torchvision", "mobilenet_v2"),
    "mobilenet_v3_large": ("torchvision", "mobilenet_v3_large"),
    "mobilenet_v3_small": ("torchvision", "mobilenet_v3_small"),
    "densenet121": ("torchvision", "densenet121"),
    "efficientnet_b0": ("torchvision", "efficientnet_b0"),
    "efficientnet_b1": ("torchvision", "efficientnet_b1"),
    "vgg_16": ("torchvision", "vgg16"),
}
_RATES = {
    "net": "",
    "pixels": "d",
    "contestant": "",
    "images/s": ".1f",
    "ours/theirs": ".2f",
    "min": ".2f",
    "max": ".2f",
    "peak RSS MB": ".0f",
}
_SHARES = {
    "net": "",
    "pixels": "d",
    "ms/step": ".1f",
    "GFLOP/step": ".2f",
    "peak GFLOP/s": ".0f",
    "% of peak": ".1f",
    "waiting %": ".1f",
    "input %": ".1f",
    "input alone images/s": ".0f",
}


class Case(NamedTuple):
    """What is trained."""

    net: str
    size: int  # pixels
    config: Any  # flags of the benchmarks
    dataset: data.Converted
    scratch: Path

    def ours(self, **more: Any) -> Any:
        """Our training as a contestant, until the block ends."""
        return workers.started("benchmarks.contestants.ours_training", self.spec(**more))

    def spec(self, **more: Any) -> dict[str, Any]:
        """What our contestants are told."""
        return {
            "net": self.net,
            "size": self.size,
            "batch_size": self.config.batch_size,
            "mixed_precision": self.config.mixed_precision,
            "dataset_dir": self.dataset.directory,
            "dataset_name": self.dataset.name,
            "train_dir": str(self.scratch / "no_run"),
            **OPTIMIZER,
            **more,
        }


def run(config: Any, report: Report, scratch: Path) -> None:
    """Measures all nets at all sizes."""
    precision = {"off": "float32", "bfloat16": "bfloat16"}[config.mixed_precision]
    batch = f"batches of {config.batch_size} in {precision}, {config.steps} steps a round"
    rates = report.section("train", f"Training: {batch}, rounds: {config.rounds}", _RATES)
    shares = report.section("train_shares", "Our training step: machine and input", _SHARES)
    for line in (
        "The peers get decoded pictures from memory, which favours them; ours reads, decodes and "
        "augments them in every step.",
        "ours/theirs: median, min and max of the rounds' ratios of images/s; above 1 ours is "
        "faster.",
        "Peak RSS: of the contestant's process, at any time from its start on.",
    ):
        rates.note(line)
    for line in (
        "% of peak: of what a float32 matrix product of side "
        f"{machine.MATRIX_SIDE} reaches in the same rounds, convolutions and products counted.",
        "waiting %: of a step, for its batch, as TensorFlow's tracing tells.",
        "input %: by how much a step is quicker on one batch again and again, in turn: that "
        "it waits no more, and has the cores for itself.",
    ):
        shares.note(line)
    dataset = data.dataset(config, scratch)
    for net in config.nets:
        for size in config.sizes:
            logging.info("training %s at %d pixels", net, size)
            _measure(Case(net, size, config, dataset, scratch), report, rates, shares)


def _measure(case: Case, report: Report, rates: Section, shares: Section) -> None:
    pool, steps = case.scratch / "pool.npz", case.config.steps
    # In a process of its own, since tracing takes memory.
    with case.ours(trace=steps) as traced:
        waiting = traced.facts["waiting"]
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(case.ours(pool=str(pool)))
        peers = {}
        for name, peer in _peers(case, pool):
            try:
                peers[name] = stack.enter_context(peer)
            except NotInstalledError as error:
                rates.note(f"{name}: {error}")
            except MachineError as error:
                rates.note(f"{name}, {case.net} at {case.size} pixels: {error}")
            else:
                report.facts.update(peers[name].facts)
        matmul = stack.enter_context(
            workers.started("benchmarks.contestants.matmul", {"side": machine.MATRIX_SIDE})
        )
        turns = {
            OURS: Turn(ours, "step", steps),
            "constant": Turn(ours, "constant", steps),
            **{name: Turn(peer, "step", steps, may_fail=True) for name, peer in peers.items()},
            "input": Turn(ours, "input", steps),
            "matmul": Turn(matmul, "step", 1),
        }
        seconds, failures = workers.in_turn(turns, case.config.rounds)
    for line in failures:
        rates.note(f"{case.net} at {case.size} pixels, {line}")
    _add_rates(rates, case, {OURS: ours, **peers}, seconds)
    flop = {OURS: ours.facts["flop"], "matmul": matmul.facts["flop"]}
    _add_shares(shares, case, seconds, flop, waiting)


def _peers(case: Case, pool: Path) -> Iterator[tuple[str, Any]]:
    """Name and process of each peer that has the net."""
    spec = {
        "pool": str(pool),
        "batch_size": case.config.batch_size,
        "mixed_precision": case.config.mixed_precision,
        "classes": case.dataset.num_classes,
        **OPTIMIZER,
    }
    if case.net in keras_weights.APPLICATIONS:
        keras = {**spec, "net": case.net}
        yield KERAS, workers.started("benchmarks.contestants.keras_fit", keras)
    if case.net in _TORCH:
        library, model = _TORCH[case.net]
        torch = {**spec, "library": library, "model": model}
        python = case.config.torch_python
        yield TORCH, workers.started("benchmarks.contestants.torch_eager", torch, python)


def _add_rates(
    rates: Section,
    case: Case,
    contestants: Mapping[str, Worker],
    seconds: Mapping[str, list[float]],
) -> None:
    """A row for each contestant, also for those that could not be measured."""
    pictures = case.config.steps * case.config.batch_size
    for name in (OURS, KERAS, TORCH):
        took = seconds.get(name)
        if not took:
            rates.add(case.net, case.size, name, None, None, None, None, None)
            continue
        quotients = (1.0, 1.0, 1.0) if name == OURS else workers.ratio(took, seconds[OURS])
        peak_rss = contestants[name].peak_rss / 1e6
        rate = pictures / statistics.median(took)
        rates.add(case.net, case.size, name, rate, *quotients, peak_rss, seconds=took)


def _add_shares(
    shares: Section,
    case: Case,
    seconds: Mapping[str, list[float]],
    flop: Mapping[str, int],
    waiting: float,
) -> None:
    step = statistics.median(seconds[OURS]) / case.config.steps  # seconds
    peak = flop["matmul"] / min(seconds["matmul"])  # FLOP/s
    constant = workers.ratio(seconds["constant"], seconds[OURS])
    pictures = case.config.steps * case.config.batch_size
    shares.add(
        case.net,
        case.size,
        1000 * step,
        flop[OURS] / 1e9,
        peak / 1e9,
        100 * flop[OURS] / step / peak,
        100 * waiting,
        100 * (1 - constant.median),
        pictures / statistics.median(seconds["input"]),
        seconds={name: seconds[name] for name in ("constant", "input", "matmul")},
    )
