import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from absl import logging

from core import progress

ROOT = Path(__file__).resolve().parents[2]

SHOW = """
from absl import app, logging
from core import progress

def main(_):
    with progress.bar("Converting", 40, unit="pictures", completed=3) as done:
        done()
        logging.warning("one is grey")
        done(5)
    logging.warning("ready")

app.run(main)
"""


def shown_on_a_terminal(code):
    """What a process writes to a standard error that is a terminal of 120 columns."""
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=end, env=environment, cwd=ROOT) as process:
        os.close(end)
        text = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(terminal, 4096):
                text += part
    os.close(terminal)
    assert process.returncode == 0
    return text.decode()


def test_on_a_terminal_the_count_is_shown_and_log_lines_appear():
    text = shown_on_a_terminal(SHOW)
    assert "Converting" in text
    assert "pictures/s" in text
    assert "9/40" in text  # 3 before, and 1 + 5
    assert "one is grey" in text
    assert text.rstrip().endswith("ready")


def test_without_a_terminal_nothing_is_shown(capfd):
    with progress.bar("Converting", 10) as done:
        for _ in range(10):
            done()
    assert capfd.readouterr() == ("", "")


def test_the_log_goes_where_it_went_after_a_failure_too():
    handler = logging.get_absl_handler().python_handler
    before = handler.stream
    with pytest.raises(RuntimeError), progress.bar("Converting", None):
        raise RuntimeError
    assert handler.stream is before
