import re
import subprocess
import sys

import numpy as np

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
    before = process.resident_bytes()
    touched = np.ones(30_000_000, np.uint8)
    assert 25_000_000 < process.resident_bytes() - before < 60_000_000
    assert touched.all()


def test_both_are_told_in_a_few_words():
    assert re.fullmatch(r"\d+\.\d s, with \d+ MB of memory", process.cold_start())
