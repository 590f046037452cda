"""What a comparison found, as files: tables for people, CSV and JSON for programs."""

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from core import csv_table, files, processor
from core.compat import tf
from datasets.spec import LoadedSplit
from engine.metrics import Metrics
from inference.comparison import page, plots
from inference.comparison.models import Candidate
from inference.comparison.offline import Result
from inference.comparison.online import Spread
from inference.comparison.tables import OFFLINE, ONLINE, Comparison, Table, Value

FILES = (
    *("comparison.txt", "offline.csv", "online.csv", "comparison.json"),
    *("offline.png", "online.png", "pareto.png", "comparison.html"),
)

_WIDEST = 10_000  # characters; a table takes what it needs of them


def comparison(
    compared: Mapping[str, Candidate],
    dataset: LoadedSplit | None,
    results: Mapping[str, Result],
    speeds: Mapping[str, Mapping[str, Spread]] | None,
    config: Any,
) -> Comparison:
    """All that was found, put together.

    Args:
        compared: the models.
        dataset: that they were scored on.
        results: of `offline.measure`, by model.
        speeds: from `online.measure`; None if none were measured.
        config: of the script.
    """
    names = ("runs", "random_init", "num_classes", "image_size", "batch_size", "repeats", "seconds")
    settings = {name: getattr(config, name) for name in names}
    scored = "before any training"
    if dataset:
        scored = f"the {dataset.split} split of {dataset.name}, {dataset.num_samples} images"
        settings |= {"dataset": str(dataset.directory), "split": dataset.split}
    here = {**processor.machine(), "tensorflow": tf.__version__}
    offline = Table(f"Offline: {scored}", OFFLINE, {n: one.row() for n, one in results.items()})
    measured_on = f"Online: {here['cores']} cores of {here['cpu']}"
    return Comparison(
        {name: model.described for name, model in compared.items()},
        here,
        settings,
        offline,
        Table(measured_on, ONLINE, speeds) if speeds else None,
        {name: one.metrics for name, one in results.items() if one.metrics},
    )


def write(found: Comparison, directory: Path) -> list[Path]:
    """Writes all files into a directory, in the place of those of an earlier comparison.

    Returns:
        Those that were written: without a speed there is no online table.

    Raises:
        MachineError: the directory cannot be made, or the disk is full.
    """
    pictures = plots.pictures(found)
    content: dict[str, str | bytes] = {"comparison.txt": text(found), **pictures}
    content["comparison.json"] = json_text(found)
    content["comparison.html"] = page.page(found, pictures)
    files.make_directory(directory)
    tables = {f"{name}.csv": table for name, table in found.tables.items()}
    for name in FILES:
        path = directory / name
        files.sweep_path(path)
        if name in tables:
            csv_table.write(path, *csv_rows(tables[name]))
        elif name in content:
            with files.atomic_write(path, binary=isinstance(content[name], bytes)) as file:
                file.write(content[name])
        else:
            path.unlink(missing_ok=True)
    return [directory / name for name in FILES if name in content | tables]


def text(found: Comparison) -> str:
    """The tables as they are printed, as wide as they need to be."""
    console = Console(file=io.StringIO(), width=_WIDEST, color_system=None, highlight=False)
    console.print(", ".join(f"{k} {v}" for k, v in found.machine.items()), markup=False)
    for table in found.tables.values():
        console.print()
        console.print(_drawn(table))
    console.print("\n* the best of its column; ↑ higher is better, ↓ lower is better")
    for line in filter(None, (found.spread_told, found.front_told)):
        console.print(line, markup=False)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=Text(table.title), title_justify="left")
    drawn.add_column("model")
    columns = table.measured()
    for column in columns:
        heading = f"{column.heading}\n{f'{column.unit} {column.arrow}'.strip()}"
        drawn.add_column(heading, justify="right")
    best = {column.key: table.best(column) for column in columns}
    for name, row in table.rows.items():
        cells = []
        for column in columns:
            value = row.get(column.key)
            mark = "*" if name in best[column.key] else ""
            ends = column.ends(value)
            cells.append(f"{mark}{column.shown(value)}" + (f"\n{ends}" if ends else ""))
        drawn.add_row(Text(name), *cells)
    return drawn


def csv_rows(table: Table) -> tuple[list[str], list[list[Any]]]:
    """A table as the header and the rows of CSV: a spread is a median and its two ends.

    The median stands under the column's key; what is undefined or was not measured is None.
    """
    spreads = {
        column.key
        for column in table.columns
        if any(isinstance(row.get(column.key), Spread) for row in table.rows.values())
    }
    header, rows = ["model"], []
    for column in table.columns:
        ends = ("", "_lowest", "_highest") if column.key in spreads else ("",)
        header += [f"{column.key}{end}" for end in ends]
    for name, row in table.rows.items():
        cells: list[Any] = [name]
        for column in table.columns:
            value = row.get(column.key)
            if column.key in spreads:
                cells += value or [None] * 3
            else:
                cells.append(value)
        rows.append(cells)
    return header, rows


def json_text(found: Comparison) -> str:
    """Everything as JSON; what is undefined or was not measured is null."""

    def content(table: Table) -> dict[str, Any]:
        return {
            name: {column.key: _plain(row.get(column.key)) for column in table.columns}
            for name, row in table.rows.items()
        }

    def best(table: Table) -> dict[str, list[str]]:
        winners = {column.key: table.best(column) for column in table.columns}
        return {key: [n for n in table.rows if n in names] for key, names in winners.items()}

    whole = {
        "models": found.models,
        "machine": found.machine,
        "settings": found.settings,
        **{name: content(table) for name, table in found.tables.items()},
        "best": {name: best(table) for name, table in found.tables.items()},
        "pareto_front": found.front,
        "metrics": {name: _metrics(one) for name, one in found.metrics.items()},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Value) -> Any:
    if isinstance(value, Spread):
        return {"median": value.median, "lowest": value.lowest, "highest": value.highest}
    return value


def _metrics(one: Metrics) -> dict[str, Any]:
    per_class = [class_._asdict() for class_ in one.per_class]
    return {**dataclasses.asdict(one), "per_class": per_class}
