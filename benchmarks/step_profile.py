"""Where the time of a training step goes, by type of operation, as TensorFlow's tracing tells."""

from pathlib import Path
from typing import Any

from absl import logging

from benchmarks import data
from benchmarks.report import Report
from benchmarks.train_throughput import Case

SHOWN = 8  # types of operation that have a row of their own
_COLUMNS = {
    "net": "",
    "pixels": "d",
    "operation": "",
    "operations/step": ".0f",
    "ms/step": ".2f",
    "%": ".1f",
}


def run(config: Any, report: Report, scratch: Path) -> None:
    """Traces steps of all nets at all sizes."""
    batch = f"batches of {config.batch_size}, {config.steps} steps"
    section = report.section("profile", f"Inside a training step: {batch}", _COLUMNS)
    section.note(
        "From start to end of each operation; of those that run side by side, both count. Input "
        "that is prepared meanwhile is not in it. After TensorFlow has rewritten the graph."
    )
    dataset = data.dataset(config, scratch)
    for net in config.nets:
        for size in config.sizes:
            logging.info("tracing %s at %d pixels", net, size)
            with Case(net, size, config, dataset, scratch).ours(trace=config.steps) as ours:
                found = ours.facts["operations"]
            for name, count, seconds, share in table(found):
                section.add(net, size, name, count, 1000 * seconds, 100 * share)


def table(operations: dict[str, list[float]]) -> list[tuple[str, float, float, float]]:
    """The rows of a net: what takes longest comes first, and what is left in one row last.

    Args:
        operations: {type: [operations per step, seconds per step]}.

    Returns:
        [(type, operations, seconds, share of all seconds)].
    """
    rows = sorted(operations.items(), key=lambda item: -item[1][1])
    rest = [values for _, values in rows[SHOWN:]]
    rows = rows[:SHOWN]
    if rest:
        rows.append(("all others", [sum(column) for column in zip(*rest, strict=True)]))
    whole = sum(seconds for _, (_, seconds) in rows)
    return [(name, count, seconds, seconds / whole) for name, (count, seconds) in rows]
