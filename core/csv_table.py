"""CSV files that spreadsheets and programs read alike."""

import csv
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any

from core import files

# How a spreadsheet takes a cell for a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def text(value: str) -> str:
    """Text as a cell that is no formula: one that would be gets a ' before it."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def write(path: str | os.PathLike, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a whole CSV file: text as `text` gives it, None as an empty cell."""
    with files.atomic_write(path) as file:
        table = csv.writer(file)
        for row in itertools.chain([header], rows):  # never all at once: there may be many
            table.writerow([text(cell) if isinstance(cell, str) else cell for cell in row])
