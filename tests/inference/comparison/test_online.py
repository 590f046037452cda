import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import CheckpointError, MachineError
from inference.comparison import online


def children(process):
    """Ids of the processes that one has started and not yet waited for."""
    tasks = Path(f"/proc/{process}/task")
    return [int(child) for file in tasks.glob("*/children") for child in file.read_text().split()]


def ends(process):
    """Whether a process ends soon; it may become a zombie, which has no command line."""
    deadline = time.monotonic() + 20
    with contextlib.suppress(OSError):
        while Path(f"/proc/{process}/cmdline").read_bytes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def first_probe(process):
    """The id of the first probe that a process starts."""
    while True:
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            for child in children(process):
                if b"inference.comparison.probe" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        time.sleep(0.01)


def test_each_model_is_measured_in_several_processes(colour_run, colour_folder):
    found = online.measure({"ours": str(colour_run)}, colour_folder / "red", 2, 0.05)
    assert list(found) == ["ours"]
    ours = found["ours"]
    assert set(ours) == {
        *("latency_ms", "latency_p99_ms", "images_per_second", "best_batch"),
        *("cold_start_s", "peak_mb", "resident_mb", "cpu_percent"),
    }
    for spread in ours.values():
        assert 0 < spread.lowest <= spread.median <= spread.highest
        assert spread.median == spread.lowest  # of two
    # Two processes are never equal in everything that has so many digits.
    assert ours["latency_ms"].lowest < ours["latency_ms"].highest
    assert ours["latency_ms"].lowest <= ours["latency_p99_ms"].lowest
    assert ours["resident_mb"].lowest <= ours["peak_mb"].lowest
    assert {ours["best_batch"].lowest, ours["best_batch"].highest} <= set(online.BATCH_SIZES)


def test_the_figures_of_a_process():
    answer = {
        "latencies_ms": list(range(101, 0, -1)),
        "images_per_second": {"1": 10.0, "2": 30.0, "4": 20.0},
        "best_batch": 2,
        "cold_start_s": 3.5,
        "peak_mb": 500.0,
        "resident_mb": 400.0,
        "cpu_percent": 150.0,
    }
    assert online._figures(answer) == {
        "latency_ms": 51,
        "latency_p99_ms": 100,  # 99 percent of the way from 1 to 101
        "images_per_second": 30.0,
        "best_batch": 2,
        "cold_start_s": 3.5,
        "peak_mb": 500.0,
        "resident_mb": 400.0,
        "cpu_percent": 150.0,
    }


def test_the_error_of_a_model_is_told_with_its_name(tmp_path, colour_folder):
    models = {"ours": str(tmp_path / "none.pb")}
    with pytest.raises(CheckpointError, match="ours: no such export") as caught:
        online.measure(models, colour_folder / "red", 2, 0.05)
    assert caught.value.where == str(tmp_path / "none.pb")
    assert caught.value.exit_code == 5


def test_a_process_that_is_killed_is_told(colour_run, colour_folder):
    def kill():
        os.kill(first_probe(os.getpid()), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(MachineError, match="ours: SIGKILL ended the process"):
        online.measure({"ours": str(colour_run)}, colour_folder / "red", 1, 60)
    killer.join()


def test_an_interrupt_leaves_no_process_behind(root, colour_run, colour_folder):
    code = (
        "import signal, sys; from pathlib import Path; from inference.comparison import online\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # of a job, it is ignored
        "try:\n"
        "    online.measure({'ours': sys.argv[1]}, Path(sys.argv[2]), 1, 60)\n"
        "except KeyboardInterrupt:\n"
        "    print('tensorflow' in sys.modules, 'numpy' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(colour_run), str(colour_folder / "red")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=root, **pipes) as process:
        probe = first_probe(process.pid)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)
    assert said == ("False False\n", "")
    assert ends(probe)


@pytest.mark.parametrize("wait", [0, 1])
def test_a_kill_leaves_no_process_behind(root, colour_run, colour_folder, wait):
    """Be the probe at its start or at work."""
    code = (
        "import sys; from pathlib import Path; from inference.comparison import online\n"
        "online.measure({'ours': sys.argv[1]}, Path(sys.argv[2]), 1, 60)\n"
    )
    command = [sys.executable, "-c", code, str(colour_run), str(colour_folder / "red")]
    with subprocess.Popen(command, cwd=root) as process:
        probe = first_probe(process.pid)
        time.sleep(wait)
        process.kill()
    assert ends(probe)  # it would go on for minutes
