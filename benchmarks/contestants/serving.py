"""The contestant's side of the pipe: it takes steps when it is told to, and answers with seconds.

The standard library is all this may import: PyTorch's contestant can live in an interpreter that
has nothing of ours.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

LEAD_IN = 2  # untimed steps before the timed ones: they wake threads and fill caches and queues

Task = Callable[[int], float]  # takes so many steps, and gives the seconds that they took


class Contestant(NamedTuple):
    """What can be asked of a contestant."""

    tasks: Mapping[str, Task]
    facts: Mapping[str, Any]  # what else it tells about itself, as JSON


def timed(step: Callable[[], Any], count: int) -> float:
    """Seconds that so many steps take, after a lead-in."""
    for _ in range(LEAD_IN):
        step()
    started = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - started


def peak_rss() -> int:
    """The most memory that this process has had resident so far, bytes.

    Not getrusage: what it gives starts with the memory of the process that this one was forked
    from.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(kilobytes)


def serve(make: Callable[[Mapping[str, Any]], Contestant]) -> None:
    """Makes the contestant that the command line describes, and does what standard input says.

    Each line in is a JSON pair of a task and a number of steps, and each line out its outcome; the
    first line out tells the contestant's facts, or which module is not installed.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not to be taken for an answer

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        contestant = make(json.loads(sys.argv[1]))
        answer(facts=contestant.facts)
        for line in sys.stdin:
            task, count = json.loads(line)
            answer(seconds=contestant.tasks[task](count), peak_rss=peak_rss())
    except ModuleNotFoundError as error:
        answer(missing=error.name)
    except Exception as error:
        answer(failure=f"{type(error).__name__}: {error}")
