"""Measures one model, in a process that has done nothing else.

    python -m inference.comparison.probe '{"model": "RUN", "pictures": "FOLDER", "seconds": 2,
                                           "batch_sizes": [1, 2, 4], "parent": 4711}'

`model` is whatever `inference.predictor.open_model` opens, `pictures` an image file or a folder of
nothing else, `seconds` how long the latency, and the speed at each batch size, is measured, and
`parent` the process that this one is not to outlive; it may be left out. One line of JSON comes
out:

    cold_start_s       from the start of the process to the first answer
    resident_mb        memory after that, 10^6 bytes
    peak_mb            the most memory that it has had in the end, 10^6 bytes
    latencies_ms       of pictures by themselves, one after the other
    images_per_second  by batch size
    best_batch         the batch size with the highest of those
    cpu_percent        at that batch size; 100 is one core at work all the time

A picture is timed from the bytes of its file to its probabilities. An error that a user is to be
told is a line, too: {"error": {what, where, remedy, exit_code}}.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core import process, script
from core.errors import DataError, ExitCode, MachineError

# The first calls at a batch size are slower: the libraries plan, and allocate memory.
_WARM_UP = 3
_LEAST_LATENCIES = 20
# Less than this share of the highest speed, at two batch sizes in a row, shows that growing on is
# no use. At a single one, the machine may have been at something else.
_CLEARLY_BEHIND = 0.8

Classify = Callable[[Sequence[bytes]], Any]


class Speed(NamedTuple):
    """What was measured at one batch size."""

    images_per_second: float
    cpu_percent: float


def measure(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Does what the specification says; both it and the result are described above.

    Raises:
        ClassifierError: the model cannot be opened, or a picture cannot be classified.
    """
    from datasets import images
    from inference import predictor

    place = Path(spec["pictures"])
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    pictures = [path.read_bytes() for path in paths]
    if not pictures:
        raise DataError("no picture there", where=str(place))
    with contextlib.closing(predictor.open_model(spec["model"])) as model:

        def classify(batch: Sequence[bytes]) -> None:
            loaded = [images.load(picture, is_decoded_next=True) for picture in batch]
            model.probabilities([picture.encoded for picture in loaded])

        classify(pictures[:1])
        cold_start, resident = process.seconds_since_start(), process.resident_bytes()
        milliseconds = latencies(classify, pictures, spec["seconds"])
        by_size = speeds(classify, pictures, spec["batch_sizes"], spec["seconds"])
    best = max(by_size, key=lambda size: by_size[size].images_per_second)
    return {
        "cold_start_s": cold_start,
        "resident_mb": resident / 1e6,
        "peak_mb": process.peak_bytes() / 1e6,
        "latencies_ms": milliseconds,
        "images_per_second": {size: speed.images_per_second for size, speed in by_size.items()},
        "best_batch": best,
        "cpu_percent": by_size[best].cpu_percent,
    }


def latencies(classify: Classify, pictures: Sequence[bytes], seconds: float) -> list[float]:
    """How long pictures take one by one, in milliseconds: at least 20 of them.

    Args:
        classify: takes image files.
        pictures: image files, of which each has its turn.
        seconds: for which to go on.
    """
    turns = itertools.cycle(pictures)
    for _ in range(_WARM_UP):
        classify([next(turns)])
    found = []
    end = time.perf_counter() + seconds
    while len(found) < _LEAST_LATENCIES or time.perf_counter() < end:
        started = time.perf_counter()
        classify([next(turns)])
        found.append(1000 * (time.perf_counter() - started))
    return found


def speeds(
    classify: Classify, pictures: Sequence[bytes], batch_sizes: Sequence[int], seconds: float
) -> dict[int, Speed]:
    """How fast pictures are classified in batches.

    It ends before the last batch size when two in a row were clearly slower than the best, or when
    the memory does not suffice.

    Args:
        classify: takes image files.
        pictures: image files, of which each has its turn.
        batch_sizes: in ascending order.
        seconds: for each batch size, at least; a batch that is begun is ended.

    Returns:
        What was measured by batch size.
    """
    found: dict[int, Speed] = {}
    for size in batch_sizes:
        try:
            found[size] = _speed(classify, pictures, size, seconds)
        except Exception as error:
            if found and isinstance(script.classified(error), MachineError):  # out of memory
                break
            raise
        if is_past_the_best([speed.images_per_second for speed in found.values()]):
            break
    return found


def is_past_the_best(rates: Sequence[float]) -> bool:
    """Whether the last two of the rates so far are clearly behind the best."""
    return max(rates[-2:]) < _CLEARLY_BEHIND * max(rates)


def _speed(classify: Classify, pictures: Sequence[bytes], size: int, seconds: float) -> Speed:
    turns = itertools.cycle(pictures)
    classify(list(itertools.islice(turns, size)))
    count = 0
    started, cpu_started = time.perf_counter(), time.process_time()
    while not count or time.perf_counter() < started + seconds:
        classify(list(itertools.islice(turns, size)))
        count += size
    took = time.perf_counter() - started
    return Speed(count / took, 100 * (time.process_time() - cpu_started) / took)


def main() -> int:
    """Answers the command line; the result is the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a word
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not to be taken for an answer
    code = ExitCode.OK
    try:
        spec = json.loads(sys.argv[1])
        if "parent" in spec:
            process.end_with(spec["parent"])
        answer = measure(spec)
    except Exception as error:
        known = script.classified(error)
        if not known:
            raise
        code = known.exit_code
        told = {"what": known.what, "where": known.where, "remedy": known.remedy}
        answer = {"error": {**told, "exit_code": code}}
    print(json.dumps(answer), file=answers, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
