"""Minutes of training from event times."""

import subprocess
import sys

import pytest

from benchmarks import accuracy_curve
from benchmarks.workers import ROOT

# A run that took steps 0 to 6, was killed, went on from step 4, and stopped at step 8; the first
# step after each start is recorded, too.
EVENTS = [
    *((100.0, 0, True), (106.0, 1, False), (112.0, 2, False), (124.0, 4, False)),
    *((136.0, 6, False), (1000.0, 4, True), (1006.0, 5, False), (1018.0, 6, False)),
    (1030.0, 8, False),
]


def test_minutes_without_what_was_lost_and_the_time_between():
    expected = {0: 0.0, 1: 0.1, 2: 0.2, 4: 0.4, 5: 0.5, 6: 0.7, 8: 0.9}
    assert accuracy_curve.minutes_of(EVENTS) == pytest.approx(expected)
    assert accuracy_curve.minutes_of(EVENTS[:5])[6] == pytest.approx(0.6)


def script(*command):
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [((), 2, "--runs names nothing"), (("--runs=nowhere",), 5, "nowhere")],
)
def test_bad_flags(arguments, code, message):
    found = script("-m", "benchmarks.accuracy_curve", *arguments)
    assert found.returncode == code
    assert message in found.stderr.strip()
    assert found.stderr.strip().count("\n") == 0
