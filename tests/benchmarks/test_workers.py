import contextlib
import os
import subprocess
import sys
import time

import pytest

from benchmarks import workers
from benchmarks.workers import NotInstalledError, Ratio, Turn
from core.errors import MachineError

LEAD_IN = 2


@contextlib.contextmanager
def contestant(**spec):
    with workers.started("tests.benchmarks.contestant", spec) as worker:
        yield worker


def gone(pid):
    """Whether a process has ended, within ten seconds."""
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_contestant_tells_its_facts_and_answers():
    with contestant(colour="red") as worker:
        assert worker.facts["colour"] == "red"
        assert [worker.seconds("echo", count) for count in (1, 4)] == [0.125, 0.5]
        assert worker.seconds("count", 3) >= 0
        assert worker.seconds("taken", 1) == LEAD_IN + 3
    assert gone(worker.facts["pid"])


def test_memory_is_that_of_the_contestant_alone():
    ballast = bytearray(b"x" * (200 << 20))  # of this process
    with contestant() as worker:
        worker.seconds("echo", 1)
        before = worker.peak_rss
        worker.seconds("grow", 64)
    assert 1e6 < before < len(ballast)
    assert worker.peak_rss >= before + (64 << 20) * 0.9


def test_a_missing_module_is_named():
    with pytest.raises(NotInstalledError, match=r"^no_such_library is not installed$"):
        contestant(missing="no_such_library").__enter__()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("fail", "ValueError: step 1"),
        ("abort", "ended with -6: the last words"),
        ("no such task", "KeyError: 'no such task'"),
    ],
)
def test_a_contestant_that_fails_is_told(task, message):
    with contestant() as worker, pytest.raises(MachineError, match=message):
        worker.seconds(task, 1)


def test_a_contestant_that_dies_while_it_waits_is_told():
    with contestant() as worker:
        worker.seconds("die soon", 1)
        worker._process.wait()
        with pytest.raises(MachineError, match="ended with -9"):
            worker.seconds("echo", 1)


def test_contestants_end_with_whoever_started_them():
    code = (
        "from benchmarks import workers\n"
        "with workers.started('tests.benchmarks.contestant', {}) as worker:\n"
        "    print(worker.facts['pid'], flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=workers.ROOT, **pipes) as process:
        pid = int(process.stdout.readline())
        process.kill()
    assert gone(pid)


def test_turns_are_taken_in_rounds_after_one_to_warm_up():
    with contestant() as one, contestant() as other:
        turns = {
            "one": Turn(one, "count", 5),
            "eight": Turn(other, "echo", 8),
            "two": Turn(one, "taken", 1),
        }
        seconds, failures = workers.in_turn(turns, 2)
    assert failures == []
    assert seconds["eight"] == [1.0, 1.0]
    assert len(seconds["one"]) == 2
    warm_up, a_round = LEAD_IN + 1, LEAD_IN + 5
    assert seconds["two"] == [warm_up + a_round, warm_up + 2 * a_round]


def test_a_peer_that_fails_drops_out():
    with contestant() as one, contestant() as other:
        turns = {
            "peer": Turn(other, "abort", 1, may_fail=True),
            "ours": Turn(one, "echo", 8),
        }
        seconds, failures = workers.in_turn(turns, 3)
    assert seconds == {"peer": [], "ours": [1.0, 1.0, 1.0]}
    assert len(failures) == 1
    assert failures[0].startswith("peer: ")
    assert failures[0].endswith("the last words")


def test_ours_must_not_fail():
    with contestant() as worker, pytest.raises(MachineError, match="the last words"):
        workers.in_turn({"ours": Turn(worker, "abort", 1)}, 1)


def test_ratios_are_taken_round_by_round():
    # Quotients 2, 3 and 1; that of the medians would be 4 / 2 = 2, that of the means 12 / 7.
    assert workers.ratio([2, 6, 4], [1, 2, 4]) == Ratio(2.0, 1.0, 3.0)
    assert workers.ratio([2, 6, 4, 10], [1, 2, 4, 2]) == Ratio(2.5, 1.0, 5.0)
    assert workers.ratio([], [1, 2]) is None


def test_what_a_command_takes():
    script = "sum(range(3_000_000)); import time; time.sleep(0.5)"
    usage = workers.measured(["-c", script])
    assert usage.seconds >= 0.5
    assert 0 < usage.cpu_seconds < usage.seconds


def test_a_command_that_fails_is_told():
    with pytest.raises(MachineError, match=r"ended with 3: the reason$"):
        workers.measured(["-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"])
