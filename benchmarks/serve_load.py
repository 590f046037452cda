"""The server under load: honest, too much, and hostile.

    python -m benchmarks.serve_load --checkpoint_path=RUN --images=FOLDER

Starts serve_image_classifier.py, and sends it the pictures of a folder: so many clients, each of
which sends the next when it has the answer; 64 uploads at once, whose answers are compared with
what the model gives without a server; more clients than the queue takes; and the first again,
in turn with and without an attack (see serve_attack.py). Server and clients share the machine.
"""

import asyncio
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags as absl_flags
from absl import logging
from rich.console import Console

from benchmarks import machine, report, serve_attack, workers
from core import extras, flags, script
from core.errors import FlagError, MachineError
from datasets import images

_HOST = "127.0.0.1"
_RETRY_SECONDS = 1.0  # what the server tells those to wait for whom it has no room
_AT_ONCE = 64
_SLOW_HEADS, _SLOW_BODIES, _BOMBS_PER_SECOND = 500, 50, 10
_LOAD_COLUMNS = {
    "load": "",
    "clients": "d",
    "answers/s": ".1f",
    "p50 ms": ".1f",
    "p99 ms": ".1f",
    "200": "d",
    "503": "d",
    "p99 of 503 ms": ".1f",
    "other": "d",
    "broken": "d",
}
_SERVER_COLUMNS = {"server": "", "MB": ".0f", "files": "d", "threads": "d", "processes": "d"}


def define_flags(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this benchmark."""
    group = flags.Group("Load", flag_values)
    group.string("checkpoint_path", None, "What is served, as of serve_image_classifier.py.")
    group.string("images", None, "Folder of pictures to send.")
    group.integer("concurrency", 64, "Honest clients.", lower=1, upper=256)
    group.integer("overload", 256, "Clients of the overload.", lower=1, upper=500)
    group.float("seconds", 20.0, "How long each load is kept up.", lower=0.1)
    group.integer("rounds", 3, "How often the attack and its absence have their turn.", lower=1)


@dataclasses.dataclass
class Outcome:
    """What clients saw."""

    seconds: list[float] = dataclasses.field(default_factory=list)  # of each answer 200
    busy_seconds: list[float] = dataclasses.field(default_factory=list)  # of each answer 503
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    broken: int = 0  # connections that ended without an answer

    def add(self, status: int, seconds: float) -> None:
        """Counts an answer."""
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(seconds)
        elif status == 503:
            self.busy_seconds.append(seconds)


class Client:
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def classify(self, picture: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to an upload; OSError or EOFError if there is none."""
        if not self._streams:
            self._streams = await asyncio.open_connection(_HOST, self._port)
        reader, writer = self._streams
        try:
            writer.write(serve_attack.request(picture))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
            body = await reader.readexactly(int(fields["content-length"]))
        except (OSError, EOFError):
            self.close()
            raise
        if fields.get("connection") == "close":
            self.close()
        return int(head.split()[1]), json.loads(body)

    def close(self) -> None:
        """Closes the connection; the next upload opens one."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def load(port: int, pictures: Sequence[bytes], clients: int, seconds: float) -> Outcome:
    """So many clients, each of which sends a picture when it has been answered."""
    outcome = Outcome()
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        client = Client(port)
        with contextlib.closing(client):
            while (started := time.perf_counter()) < end:
                number += 1
                try:
                    status, _ = await client.classify(pictures[number % len(pictures)])
                except (OSError, EOFError):
                    outcome.broken += 1
                    continue
                outcome.add(status, time.perf_counter() - started)
                if status == 503:
                    await asyncio.sleep(_RETRY_SECONDS)

    await asyncio.gather(*(one(number) for number in range(clients)))
    return outcome


async def at_once(port: int, pictures: Sequence[bytes]) -> list[np.ndarray]:
    """The probabilities that the server gives for pictures that all come at once, float [C] each.

    Raises:
        MachineError: one of them is not answered by 200.
    """

    async def one(picture: bytes) -> np.ndarray:
        with contextlib.closing(Client(port)) as client:
            status, content = await client.classify(picture)
        if status != 200:
            raise MachineError(f"an upload was answered by {status}: {content['error']}")
        found = sorted(content["predictions"], key=lambda prediction: prediction["label"])
        return np.array([prediction["probability"] for prediction in found])

    return await asyncio.gather(*(one(picture) for picture in pictures))


@contextlib.contextmanager
def served(checkpoint_path: str) -> Iterator[tuple[int, Any]]:
    """A server of a model; its port and psutil's view of its process.

    Raises:
        MachineError: it did not start.
    """
    import psutil

    command = [sys.executable, "serve_image_classifier.py", "--port=0", "--reload_secs=0"]
    command.append(f"--checkpoint_path={checkpoint_path}")
    with workers.running(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        if not address:
            raise MachineError(f"the server ended with {process.wait()}")
        yield int(address.rpartition(":")[2]), psutil.Process(process.pid)


@contextlib.contextmanager
def attacked(port: int) -> Iterator[None]:
    """An attack, until the block ends."""
    arguments = map(str, (port, _SLOW_HEADS, _SLOW_BODIES, _BOMBS_PER_SECOND))
    command = [sys.executable, "-m", "benchmarks.serve_attack", *arguments]
    with workers.running(command, stderr=subprocess.DEVNULL):
        time.sleep(serve_attack.SPREAD_SECONDS + 1)
        yield


def state(process: Any) -> tuple[float, int, int, int]:
    """Resident MB, open files, threads and processes of a process with its children."""
    tree = [process, *process.children(recursive=True)]
    return (
        sum(one.memory_info().rss for one in tree) / 1e6,
        sum(one.num_fds() for one in tree),
        sum(one.num_threads() for one in tree),
        len(tree),
    )


def largest_difference(
    port: int, pictures: Sequence[bytes], expected: np.ndarray, rounds: int
) -> float:
    """How far answers to uploads at once are from what the model gives, at most."""
    found = [asyncio.run(at_once(port, pictures)) for _ in range(rounds)]
    return float(np.abs(np.array(found) - expected).max())


def main(config: Any) -> None:
    """Measures, and prints the tables."""
    if not config.checkpoint_path or not config.images:
        raise FlagError("--checkpoint_path and --images are needed")
    extras.need("bench", "psutil")

    from inference import predictor

    pictures = read(config.images, _AT_ONCE)
    with contextlib.closing(predictor.open_model(config.checkpoint_path)) as model:
        expected = model.probabilities([images.load(picture).encoded for picture in pictures])
    tables = report.Report(machine.facts(), {})
    loads = tables.section("load", f"Load, {config.seconds:g} s each", _LOAD_COLUMNS)
    servers = tables.section("server", "The server with its processes", _SERVER_COLUMNS)
    with served(config.checkpoint_path) as (port, process):
        measure(config, port, pictures, loads, lambda when: servers.add(when, *state(process)))
        difference = largest_difference(port, pictures, expected, config.rounds)
        loads.note(
            f"{config.rounds} times {_AT_ONCE} uploads at once were all answered, at most "
            f"{difference:.1g} from what the model gives."
        )
    tables.print(Console(width=None if sys.stdout.isatty() else report.WIDTH))


def measure(
    config: Any,
    port: int,
    pictures: Sequence[bytes],
    loads: report.Section,
    note_state: Callable[[str], None],
) -> None:
    """Keeps up one load after the other."""

    def keep_up(name: str, clients: int) -> float:
        logging.info("%s, %d clients", name, clients)
        outcome = asyncio.run(load(port, pictures, clients, config.seconds))
        note_state(f"after {name}")
        return add_row(loads, name, clients, outcome, config.seconds)

    asyncio.run(load(port, pictures, config.concurrency, 2.0))
    note_state("warm")
    ratios = []
    for number in range(config.rounds):
        quiet = keep_up(f"quiet {number + 1}", config.concurrency)
        with attacked(port):
            ratios.append(keep_up(f"attacked {number + 1}", config.concurrency) / quiet)
    keep_up("overload", config.overload)
    keep_up("quiet again", config.concurrency)
    loads.note(
        f"Attacked, the p99 of honest clients was {statistics.median(ratios):.2f} times as long "
        f"as in the quiet before ({min(ratios):.2f} to {max(ratios):.2f})."
    )


def add_row(
    loads: report.Section, name: str, clients: int, outcome: Outcome, seconds: float
) -> float:
    """Adds what was seen of a load to its table; the 99th percentile of its answers, ms."""
    p50, p99 = np.percentile(outcome.seconds, (50, 99)) * 1e3 if outcome.seconds else (None, None)
    busy = np.percentile(outcome.busy_seconds, 99) * 1e3 if outcome.busy_seconds else None
    ok, refused = outcome.statuses[200], outcome.statuses[503]
    other = outcome.statuses.total() - ok - refused
    loads.add(name, clients, ok / seconds, p50, p99, ok, refused, busy, other, outcome.broken)
    return p99


def read(folder: str, count: int) -> list[bytes]:
    """So many pictures of a folder, again from the first on if there are fewer.

    Raises:
        FlagError: there are none.
    """
    paths = sorted(
        path
        for path in Path(folder).rglob("*")
        if path.is_file() and images.image_format(path.read_bytes()[:64])
    )
    if not paths:
        raise FlagError("no pictures", where=folder)
    return [paths[number % len(paths)].read_bytes() for number in range(count)]


if __name__ == "__main__":
    script.run(main, define_flags, __doc__)
