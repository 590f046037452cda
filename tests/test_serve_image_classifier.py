"""The server as a process: how it starts, and how it ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVE = "serve_image_classifier.py"
PATIENCE = 60  # seconds


class Process:
    """A server as its own process, started with a port of the system's choice."""

    def __init__(self, *arguments):
        command = [sys.executable, str(ROOT / SERVE), "--port=0", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.popen = subprocess.Popen(command, start_new_session=True, **pipes)
        self.first_line = self.popen.stdout.readline().strip()

    def address(self, path):
        return self.first_line + path

    def connect(self):
        port = int(self.first_line.rpartition(":")[2])
        return socket.create_connection(("127.0.0.1", port), PATIENCE)

    def get(self, path):
        with urllib.request.urlopen(self.address(path), timeout=PATIENCE) as answer:
            return answer.read()

    def classify(self, picture):
        request = urllib.request.Request(self.address("/classify"), picture, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_until_it_stops_listening(self):
        process = psutil.Process(self.popen.pid)
        while any(c.status == psutil.CONN_LISTEN for c in process.net_connections()):
            pass

    def end(self):
        """Exit code and what was printed."""
        out, err = self.popen.stdout.read(), self.popen.stderr.read()
        return self.popen.wait(PATIENCE), out, err


@pytest.fixture
def serve():
    """serve("--flag=value", ...) starts a server, which does not outlive the test."""
    started = []

    def serve(*arguments):
        started.append(Process(*arguments))
        return started[-1]

    yield serve
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGKILL)
        process.popen.communicate()


def test_it_answers_until_sigterm_and_what_is_under_way_then(serve, colour_run, colour_folder):
    """The last byte of 20 uploads comes after the signal."""
    process = serve(f"--checkpoint_path={colour_run}", "--name=colours")
    picture = (colour_folder / "red" / "1.png").read_bytes()
    assert process.classify(picture)["class"] == "red"
    assert json.loads(process.get("/healthz"))["model"]["name"] == "colours"
    children = psutil.Process(process.popen.pid).children()
    assert len(children) == 2
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture)
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(process.connect()) for _ in range(20)]
        for upload in uploads:
            upload.sendall(head + picture[:-1])
        process.get("/healthz")  # all of that has been seen now
        process.popen.terminate()
        process.wait_until_it_stops_listening()
        for upload in uploads:
            upload.sendall(picture[-1:])
        for upload in uploads:
            answer = upload.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b'{"class":"red"' in answer
            assert b"connection: close" in answer
    code, out, err = process.end()
    assert (code, err.splitlines()[-1]) == (143, "terminated")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", process.first_line)
    assert "colours, version 60: lenet, 8 pixels, 3 classes" in out
    assert re.search(r"ready in  \d+\.\d s, with \d+ MB of memory", out)
    assert "Traceback" not in err
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []


def test_under_load_sigint_loses_no_request(serve, colour_run, colour_folder):
    process = serve(f"--checkpoint_path={colour_run}", "--host=0.0.0.0")
    picture = (colour_folder / "red" / "1.png").read_bytes()
    answered, refused, broken = [], [], []
    enough = threading.Event()

    def load():
        while not (refused or broken):
            try:
                answered.append(process.classify(picture)["class"])
            except urllib.error.URLError as error:
                refused.append(error.reason)
            except OSError as error:
                broken.append(error)
            if len(answered) > 100:
                enough.set()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE)
    process.popen.send_signal(signal.SIGINT)
    for thread in threads:
        thread.join(PATIENCE)
    code, _, err = process.end()
    assert (code, err.splitlines()[-1]) == (130, "interrupted")
    assert "listening on 0.0.0.0: whoever reaches this machine can use the server" in err
    assert set(answered) == {"red"}
    assert not broken
    assert {type(reason) for reason in refused} == {ConnectionRefusedError}


def test_who_never_ends_is_not_waited_for_longer_than_said(serve, colour_run):
    process = serve(f"--checkpoint_path={colour_run}", "--drain_secs=1")
    with process.connect() as upload:
        upload.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        process.get("/healthz")
        process.popen.terminate()
        answer = upload.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"reason": "stopping"' in answer
    code, _, err = process.end()
    assert (code, "Traceback" in err) == (143, False)


def test_a_second_signal_ends_it_at_once(serve, colour_run):
    process = serve(f"--checkpoint_path={colour_run}", "--drain_secs=600")
    children = psutil.Process(process.popen.pid).children()
    with process.connect() as upload:
        upload.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        process.get("/healthz")
        process.popen.terminate()
        process.wait_until_it_stops_listening()
        process.popen.terminate()
        assert process.end()[0] == -signal.SIGTERM
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []


@pytest.mark.parametrize("listens", [True, False])
def test_a_port_in_use_is_told_in_one_line(run_script, colour_run, listens):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:
            other.listen()
        port = other.getsockname()[1]
        result = run_script(SERVE, f"--checkpoint_path={colour_run}", f"--port={port}")
    assert result.returncode == 4
    assert result.stdout == ""
    assert result.stderr == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use - "
        "choose another --port or --host\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 64])
def test_an_address_that_is_not_its_own_is_told_in_one_line(run_script, colour_run, host):
    result = run_script(SERVE, f"--checkpoint_path={colour_run}", f"--host={host}")
    assert result.returncode == 4
    assert result.stderr.startswith(f"error: cannot listen on {host}:8501: ")
    assert result.stderr.count("\n") == 1


def test_without_a_usable_model_it_never_listens(run_script, colour_run, tmp_path):
    missing = run_script(SERVE, "--checkpoint_path=/nowhere", "--port=0")
    damaged = tmp_path / "run"
    shutil.copytree(colour_run, damaged, ignore=shutil.ignore_patterns("model.ckpt-0.*"))
    data = damaged / "model.ckpt-60.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    cut = run_script(SERVE, f"--checkpoint_path={damaged}", "--port=0")
    for result in (missing, cut):
        assert result.returncode == 5
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


def test_a_damaged_newest_checkpoint_is_passed_over(serve, colour_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(colour_run, run)
    os.truncate(run / "model.ckpt-60.data-00000-of-00001", 1000)
    server = serve(f"--checkpoint_path={run}")
    assert json.loads(server.get("/healthz"))["model"]["version"] == 0


def test_limits_have_to_let_pass_what_the_model_takes(run_script, colour_run):
    given = [f"--checkpoint_path={colour_run}", "--port=0", "--max_image_pixels=63"]
    result = run_script(SERVE, *given)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "error: --max_image_pixels=63 is less than the 8x8 that the model takes - raise it"
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "--checkpoint_path is missing"),
        (["--checkpoint_path=x", "--name=a/b"], "--name='a/b' cannot stand in an address"),
        (["--checkpoint_path=x", "--port=65536"], "flag --port=65536"),
        (["--checkpoint_path=x", "--max_batch_size=0"], "flag --max_batch_size=0"),
        (["--checkpoint_path=x", "--reload_secs=nan"], "flag --reload_secs=nan"),
    ],
)
def test_bad_flags_are_told_in_one_line(run_script, arguments, what):
    result = run_script(SERVE, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {what}")
    assert result.stderr.count("\n") == 1
