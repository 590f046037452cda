"""What was found: tables for people, JSON for programs."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 140  # of the tables where there is no terminal, characters


class Section:
    """One table, which grows while things are measured.

    Args:
        title: what was measured.
        columns: heading -> format of the numbers below it; empty for text.
    """

    def __init__(self, title: str, columns: Mapping[str, str]) -> None:
        self.title, self.columns = title, columns
        self.rows: list[tuple] = []
        self._details: list[Mapping[str, Any]] = []
        self._notes: list[str] = []

    def add(self, *cells: Any, **details: Any) -> None:
        """Adds a row: None for what could not be measured. Details go to the JSON alone."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)
        self._details.append(details)

    def note(self, line: str) -> None:
        """Adds a line below the table, unless it stands there already."""
        if line not in self._notes:
            self._notes.append(line)

    def print(self, console: Console) -> None:
        """Prints table and notes."""
        table = Table(title=self.title, title_justify="left")
        for heading, format_ in self.columns.items():
            table.add_column(heading, justify="right" if format_ else "left")
        for row in self.rows:
            cells = zip(row, self.columns.values(), strict=True)
            table.add_row(*("-" if cell is None else format(cell, as_) for cell, as_ in cells))
        console.print(table)
        for line in self._notes:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()

    def content(self) -> dict[str, Any]:
        """The same as values of JSON."""
        rows = [
            dict(zip(self.columns, row, strict=True)) | details
            for row, details in zip(self.rows, self._details, strict=True)
        ]
        return {"title": self.title, "rows": rows, "notes": self._notes}


class Report:
    """All tables of a run of the benchmarks.

    Args:
        facts: about the machine; more can be added.
        settings: of the run.
    """

    def __init__(self, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.facts, self._settings = dict(facts), settings
        self._sections: dict[str, Section] = {}

    def section(self, name: str, title: str, columns: Mapping[str, str]) -> Section:
        """A new table; the name is its key in the JSON."""
        self._sections[name] = Section(title, columns)
        return self._sections[name]

    def is_empty(self) -> bool:
        """Whether nothing was measured so far."""
        return not any(section.rows for section in self._sections.values())

    def print(self, console: Console) -> None:
        """Prints the machine, then the tables."""
        machine = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        console.print(machine, markup=False, highlight=False, soft_wrap=True)
        console.print()
        for section in self._sections.values():
            section.print(console)

    def to_json(self) -> str:
        """The text of the JSON file."""
        sections = {name: section.content() for name, section in self._sections.items()}
        content = {"machine": self.facts, "settings": self._settings, "benchmarks": sections}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
