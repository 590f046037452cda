"""Progress bars on a terminal; silence where there is none, so that log files stay readable."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from absl import logging
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _RateColumn(ProgressColumn):
    """Items per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} {self._unit}/s")


@contextlib.contextmanager
def bar(
    description: str, total: int | None, unit: str = "images", completed: int = 0
) -> Iterator[Callable]:
    """Shows a bar on stderr while the block runs; log lines appear above it.

    Args:
        description: what is going on.
        total: how many items there will be; None if unknown.
        unit: what the items are.
        completed: how many of them were done before.

    Yields:
        `advance(count=1)`: call it when items are done.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(description, total=total, completed=completed)
        handler = logging.get_absl_handler().python_handler
        before = handler.stream
        # The bar has put its own stream in the place of stderr, which lifts log lines above it.
        handler.setStream(sys.stderr)
        try:
            yield lambda count=1: progress.advance(task, count)
        finally:
            handler.setStream(before)


def abandon() -> None:
    """Brings back the cursor that a bar hides, in a process that ends without closing its bars."""
    if sys.__stderr__.isatty():
        os.write(sys.__stderr__.fileno(), b"\r\x1b[K\x1b[?25h")  # clear the line, show the cursor
