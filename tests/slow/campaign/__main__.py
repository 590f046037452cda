"""Kills, fills, damages and garbles, and sees what the scripts make of it.

    python -m tests.slow.campaign [--seed=N] [--minutes=M] [--only=row,row] [--scale=0.1]

Every trial's random numbers come from the seed, its row and its number, so that a trial can be run
again by itself: --seed=N --only=row --trial=17. Trials that fail keep their directories.
"""

import argparse
import collections
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.slow.campaign import (
    classification,
    conversion,
    damage,
    disk,
    exports,
    fuzz_commands,
    fuzz_http,
    fuzz_images,
    reports,
    serving,
    signals,
    training,
    trials,
    tuning,
    validating,
)
from tests.slow.campaign.trials import KINDS, Outcome, Row

MODULES = (
    *(training, validating, tuning, conversion, exports, classification, reports, signals),
    *(serving, disk, damage, fuzz_images, fuzz_http, fuzz_commands),
)
ROWS = tuple(row for module in MODULES for row in module.ROWS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.slow.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="default: a random one, which is printed")
    parser.add_argument("--minutes", type=float, help="go on with fresh trials for so long")
    parser.add_argument("--only", default="", help="rows, or beginnings of their names")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the trials to run")
    parser.add_argument("--trial", type=int, help="run only the trials with this number")
    parser.add_argument("--workers", type=int, default=2, help="trials that run at a time")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    asked = tuple(options.only.split(","))
    options.rows = [row for row in ROWS if row.name.startswith(asked)]
    if not options.rows:
        parser.error(f"--only: the rows are {', '.join(row.name for row in ROWS)}")
    return options


class _Rows:
    """What has become of the rows so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._ended: set[str] = set()
        self.trials = collections.Counter()
        self.seconds = collections.Counter()
        self.failures: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        self.checked: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        self.slowest: dict[str, float] = collections.defaultdict(float)

    def jobs(self) -> Iterator[tuple[Row, int]]:
        """Rows and trial numbers, in the order in which they are run."""
        if self._options.trial is not None:
            yield from ((row, self._options.trial) for row in self._options.rows)
            return
        rounds = 0
        while True:
            self._ended.clear()
            for row in self._options.rows:
                yield from ((row, number) for number in self._numbers(row, rounds))
            rounds += 1
            if self._options.minutes is None:
                return

    def _numbers(self, row: Row, rounds: int) -> Iterator[int]:
        if row.count is not None:
            count = math.ceil(row.count * self._options.scale)
            yield from range(rounds * row.count, rounds * row.count + count)
            return
        number = 0
        while row.name not in self._ended:
            yield number
            number += max(1, round(1 / self._options.scale))

    def add(self, outcome: Outcome) -> None:
        """Counts a trial that has ended."""
        name = outcome.row.name
        self.seconds[name] += outcome.seconds
        if outcome.ended:
            self._ended.add(name)
            return
        if "broken" in dict(outcome.failures):  # or a row without a count might have no end
            self._ended.add(name)
        self.trials[name] += 1
        self.checked[name] += outcome.checked
        self.slowest[name] = max(self.slowest[name], outcome.slowest)
        self.failures[name].update({kind for kind, _ in outcome.failures})

    def table(self) -> Table:
        """Rows, trials, what was checked, and the trials that failed, by kind."""
        table = Table("row", "trials", "process s", "checked", *KINDS)
        for row in self._options.rows:
            name = row.name
            checked = ", ".join(f"{count} {what}" for what, count in self.checked[name].items())
            if self.slowest[name]:
                checked += f", slowest {1000 * self.slowest[name]:.0f} ms"
            cells = [name, str(self.trials[name]), f"{self.seconds[name]:.0f}", checked]
            table.add_row(*cells, *(str(self.failures[name][kind]) for kind in KINDS))
        return table


def _run(
    options: argparse.Namespace, rows: _Rows, scratch: Path, until: float, console: Console
) -> None:
    # Not refreshed by a thread of its own: this process forks.
    with Progress(console=console, auto_refresh=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        for outcome in trials.run(rows.jobs(), options.seed, scratch, options.workers, until):
            rows.add(outcome)
            for kind, what in outcome.failures:
                console.print(
                    f"FAILED {outcome.row.name} {outcome.number}: {kind}: {what}; again with "
                    f"--seed={options.seed} --only={outcome.row.name} --trial={outcome.number}; "
                    f"kept: {outcome.directory}",
                    markup=False,
                    soft_wrap=True,
                )
            if not outcome.failures:
                shutil.rmtree(outcome.directory)
            progress.update(task, advance=1, description=f"{outcome.row.name} {outcome.number}")
            progress.refresh()


def main() -> int:
    """Runs the campaign; returns the exit code. A signal ends it early, with the table so far."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {options.seed}")
    scratch = Path(tempfile.mkdtemp(prefix="campaign-"))
    started = time.monotonic()
    until = started + 60 * (options.minutes or math.inf)
    rows = _Rows(options)
    stopped = False
    try:
        _run(options, rows, scratch, until, console)
    except KeyboardInterrupt:
        stopped = True
    console.print(rows.table())
    failed = sum(counts.total() for counts in rows.failures.values())
    console.print(f"{failed} failures, {(time.monotonic() - started) / 60:.1f} minutes")
    if not failed:
        shutil.rmtree(scratch)
    return 1 if failed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
