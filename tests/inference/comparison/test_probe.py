import json
import subprocess
import sys
import time

import pytest

from core.errors import DataError
from inference.comparison import probe

PICTURES = [b"a", b"b", b"c"]


@pytest.fixture
def spec(exported, colour_folder):
    return {
        "model": str(exported("tflite")),
        "pictures": str(colour_folder / "red"),
        "seconds": 0.05,
        "batch_sizes": [1, 3],
    }


def test_a_process_tells_all_that_it_measured_in_one_line(root, spec):
    """Of an export, whose library says something when it starts."""
    started = time.monotonic()
    command = [sys.executable, "-m", "inference.comparison.probe", json.dumps(spec)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=200)
    took = time.monotonic() - started
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == {
        *("cold_start_s", "resident_mb", "peak_mb", "latencies_ms"),
        *("images_per_second", "best_batch", "cpu_percent"),
    }
    assert 0.5 < found["cold_start_s"] < took  # TensorFlow alone takes more
    assert 100 < found["resident_mb"] <= found["peak_mb"]  # TensorFlow alone has more
    assert len(found["latencies_ms"]) >= 20
    assert min(found["latencies_ms"]) > 0
    assert sum(found["latencies_ms"]) < 1000 * (took - found["cold_start_s"])
    assert set(found["images_per_second"]) == {"1", "3"}
    rates = found["images_per_second"]
    assert rates[str(found["best_batch"])] == max(rates.values())
    assert found["cpu_percent"] > 0


def test_an_empty_folder_is_told(spec, tmp_path):
    with pytest.raises(DataError, match="no picture there"):
        probe.measure(spec | {"pictures": str(tmp_path)})


def test_each_picture_has_its_turn_by_itself():
    seen = []
    found = probe.latencies(seen.append, PICTURES, seconds=0)
    assert len(found) == 20
    assert seen[-20:] == [[PICTURES[number % 3]] for number in range(len(seen) - 20, len(seen))]
    assert len(seen) > 20  # the first ones warm up


def test_latencies_go_on_for_the_time():
    started = time.monotonic()
    found = probe.latencies(lambda _: time.sleep(0.001), PICTURES, seconds=0.3)
    assert time.monotonic() - started >= 0.3
    assert min(found) >= 1


def test_speed_is_measured_in_batches_of_all_pictures():
    seen = []
    found = probe.speeds(seen.append, PICTURES, [1, 2, 4], seconds=0)
    assert list(found) == [1, 2, 4]
    # One batch each to warm up, one to measure.
    assert list(map(len, seen)) == [1, 1, 2, 2, 4, 4]
    assert seen[-2:] == [[b"a", b"b", b"c", b"a"], [b"b", b"c", b"a", b"b"]]


def test_a_speed_is_pictures_by_seconds():
    def work(batch):
        time.sleep(0.01 * len(batch))

    found = probe.speeds(work, PICTURES, [1, 5], seconds=0.1)
    for speed in found.values():
        assert 0 < speed.images_per_second <= 100
        assert 0 <= speed.cpu_percent < 100  # who sleeps has no work


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([10], False),
        ([10, 7], False),
        ([10, 7, 7.9], True),
        ([10, 7, 8.1], False),
        ([10, 7, 20], False),
        ([10, 20, 15, 15], True),
    ],
)
def test_the_best_is_past_when_two_in_a_row_are_clearly_slower(rates, expected):
    assert probe.is_past_the_best(rates) == expected


def test_growing_ends_when_the_best_is_past():
    def work(batch):
        time.sleep(0.05 * (len(batch) > 2))

    found = probe.speeds(work, PICTURES, [1, 2, 4, 8, 16], seconds=0)
    assert 4 in found
    assert 16 not in found


def test_growing_ends_when_there_is_no_memory_left():
    def work(batch):
        if len(batch) > 2:
            raise MemoryError

    assert list(probe.speeds(work, PICTURES, [1, 2, 4, 8], seconds=0)) == [1, 2]
    with pytest.raises(MemoryError):
        probe.speeds(work, PICTURES, [4, 8], seconds=0)


def test_any_other_error_is_told():
    def work(batch):
        if len(batch) > 2:
            raise DataError("damaged")

    with pytest.raises(DataError):
        probe.speeds(work, PICTURES, [1, 2, 4], seconds=0)
