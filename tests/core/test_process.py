import re
import signal
import subprocess
import sys

import pytest

from core import process


def test_seconds_since_the_start_are_those_of_this_process():
    code = (
        "import time; time.sleep(1); from core import process; print(process.seconds_since_start())"
    )
    before = process.seconds_since_start()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = process.seconds_since_start()
    assert 1.0 <= float(found.stdout) <= after - before + 0.1


def test_resident_memory_is_what_has_been_touched():
    code = (
        "import mmap\nfrom core.process import *\nbefore = resident_bytes()\n"
        "touched = mmap.mmap(-1, 30_000_000)\ntouched.write(b'x' * 30_000_000)\n"
        "print(resident_bytes() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 29_000_000 < int(found.stdout) < 40_000_000


def test_peak_memory_is_kept_when_it_is_freed():
    code = (
        "from core.process import *\nbefore = peak_bytes()\n"
        "touched = b'x' * 30_000_000\ndel touched\n"
        "print(before, peak_bytes() - before, peak_bytes() - resident_bytes())"
    )
    touched = b"x" * 100_000_000  # none of the other process's, which this one starts
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    del touched
    before, grown, freed = map(int, found.stdout.split())
    assert before < 100_000_000 < process.peak_bytes()
    assert 29_000_000 < grown < 40_000_000
    assert freed > 29_000_000


def test_both_are_told_in_a_few_words():
    assert re.fullmatch(r"\d+\.\d s, with \d+ MB of memory", process.cold_start())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_is_signalled_when_its_parent_is_killed(number):
    child = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), os._exit(0)))\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)"
    )
    # It stays so although the child executes another program.
    parent = (
        "import functools, os, subprocess, sys\nfrom core import process\n"
        f"end = functools.partial(process.end_with, os.getpid(), {int(number)})\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1]], preexec_fn=end).wait()"
    )
    command = [sys.executable, "-c", parent, child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "begun\n"
        started.kill()
        said = started.stdout.read()  # to the end: both have closed it
    assert said == ("told\n" if number == signal.SIGTERM else "")
