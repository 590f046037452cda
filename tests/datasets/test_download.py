import contextlib
import hashlib
import http.server
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import DataError, FlagError, MachineError
from datasets import download

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 3000  # 768,000 bytes: several blocks of reading
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<html><body>The page you are looking for has moved.</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """What a server may do to who asks for an archive, by the first part of the path."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        self.server.asked.append(kind)
        if kind == "missing":
            self.send_error(404)
        elif kind == "silent":
            self.server.may_end.wait(timeout=60)
        elif kind == "closing":
            self.close_connection = True  # without a word
        elif kind == "failing-once" and len(self.server.asked) == 1:
            self.send_error(503)
        else:
            self._send(kind)

    def _send(self, kind):
        body = {
            "altered": b"\xff" + CONTENT[1:],
            "truncated": CONTENT[:-100_000],
            "page": PAGE,
            "longer": CONTENT * 3,
        }.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT if kind == "truncated" else body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # of "longer" not all is fetched
            if kind == "stalling":
                self.wfile.write(body[:400_000])
                self.server.may_end.wait(timeout=60)
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        running.may_end = threading.Event()
        thread.start()
        yield running
        running.may_end.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(server):
    """archive(kind) is what should be at a URL where the server does something of that kind."""
    server.asked = []

    def archive(kind):
        url = f"http://127.0.0.1:{server.server_port}/{kind}/pictures.tar.gz"
        return download.Archive(url, len(CONTENT), SHA256)

    return archive


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_the_name_of_an_archive_is_the_end_of_its_url(archive):
    assert archive("good").name == "pictures.tar.gz"


def test_a_good_archive_is_there_within_the_block_only(archive, tmp_path):
    with download.fetched(archive("good"), str(tmp_path), tries=1) as path:
        assert path == tmp_path / "pictures.tar.gz"
        assert path.read_bytes() == CONTENT
        assert names(tmp_path) == ["pictures.tar.gz"]
    assert names(tmp_path) == []


def test_an_archive_stays_if_the_block_fails_and_is_not_fetched_again(archive, server, tmp_path):
    with (
        pytest.raises(RuntimeError),
        download.fetched(archive("good"), str(tmp_path), tries=1),
    ):
        raise RuntimeError
    assert names(tmp_path) == ["pictures.tar.gz"]
    with download.fetched(archive("good"), str(tmp_path), tries=1) as path:
        assert path.read_bytes() == CONTENT
    assert server.asked == ["good"]


def test_half_of_an_archive_that_a_killed_run_left_is_fetched_anew(archive, tmp_path):
    (tmp_path / "pictures.tar.gz.part").write_bytes(CONTENT[:1000])
    (tmp_path / "pictures.tar.gz").write_bytes(CONTENT[:2000])
    with download.fetched(archive("good"), str(tmp_path), tries=1) as path:
        assert path.read_bytes() == CONTENT
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("altered", len(CONTENT)),
        ("truncated", len(CONTENT) - 100_000),
        ("page", len(PAGE)),
        ("longer", 786_432),  # the first multiple of the block of 262,144 bytes beyond 768,000
    ],
)
def test_what_is_not_the_archive_is_kept_aside_and_told(archive, tmp_path, kind, received):
    expected = f"expected {len(CONTENT)} bytes with sha256 {SHA256}, got {received} bytes with "
    with (
        pytest.raises(DataError, match=expected) as caught,
        download.fetched(archive(kind), str(tmp_path), tries=1),
    ):
        pytest.fail("used before it was verified")
    bad = tmp_path / "pictures.tar.gz.bad"
    assert caught.value.where == str(bad)
    assert bad.stat().st_size == received
    assert hashlib.sha256(bad.read_bytes()).hexdigest() in caught.value.what
    assert names(tmp_path) == ["pictures.tar.gz.bad"]


def test_after_a_bad_archive_a_good_one_is_fetched(archive, tmp_path):
    (tmp_path / "pictures.tar.gz").write_bytes(b"\xff" + CONTENT[1:])
    with pytest.raises(DataError), download.fetched(archive("good"), str(tmp_path), tries=1):
        pass
    with download.fetched(archive("good"), str(tmp_path), tries=1) as path:
        assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "reason"), [("missing", "Not Found"), ("closing", "closed connection without")]
)
def test_what_cannot_be_fetched_is_told_with_the_way_out(archive, server, tmp_path, kind, reason):
    message = (
        rf"cannot download http://.*/{kind}/pictures.tar.gz: .*{reason}.* - "
        "fetch pictures.tar.gz by hand and pass it with --source_archive"
    )
    with (
        pytest.raises(MachineError, match=message),
        download.fetched(archive(kind), str(tmp_path), tries=1),
    ):
        pass
    assert names(tmp_path) == []
    assert server.asked == [kind]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["silent", "stalling"])
def test_a_server_that_says_no_more_is_not_waited_for(archive, server, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    message = "timed out - fetch pictures.tar.gz by hand and pass it with --source_archive"
    with (
        pytest.raises(MachineError, match=message) as caught,
        download.fetched(archive(kind), str(tmp_path), tries=2),
    ):
        pass
    assert caught.value.exit_code == 4
    assert server.asked == [kind] * 2
    assert names(tmp_path) == []


@pytest.mark.parametrize("room", [0, 300_000, len(CONTENT) - 1])
def test_a_disk_that_is_full_is_not_tried_again(archive, server, tmp_path, no_file_beyond, room):
    with (
        no_file_beyond(room),
        pytest.raises(OSError, match="File too large"),
        download.fetched(archive("good"), str(tmp_path), tries=3),
    ):
        pass
    assert server.asked == ["good"]
    assert names(tmp_path) == []


# As the scripts do it: `core.script` sees to it that no library swallows the signal.
FETCH = """
import os
from core import script
from datasets import download
url, size, sha256, directory = os.environ["ARCHIVE"].split()
def main(_):
    with download.fetched(download.Archive(url, int(size), sha256), directory):
        pass
script.run(main, lambda flag_values: None, about="")
"""


@pytest.mark.parametrize(
    ("number", "code", "left"),
    [
        (signal.SIGINT, 130, []),
        (signal.SIGTERM, 143, []),
        (signal.SIGKILL, -signal.SIGKILL, ["pictures.tar.gz.part"]),
    ],
)
def test_after_a_download_that_was_stopped_halfway_the_next_one_is_whole(
    archive, tmp_path, number, code, left
):
    stalling = archive("stalling")
    part = tmp_path / "pictures.tar.gz.part"
    with subprocess.Popen(
        [sys.executable, "-c", FETCH],
        env={"PYTHONPATH": str(ROOT), "ARCHIVE": " ".join(map(str, (*stalling, tmp_path)))},
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    assert names(tmp_path) == left
    with download.fetched(archive("good"), str(tmp_path), tries=1) as path:
        assert path.read_bytes() == CONTENT
    assert names(tmp_path) == []


def test_no_server(tmp_path):
    nobody = download.Archive("http://127.0.0.1:1/a.tar.gz", 3, "ab")
    with (
        pytest.raises(MachineError, match="Connection refused"),
        download.fetched(nobody, str(tmp_path), tries=1),
    ):
        pass


def test_a_second_try_can_succeed(archive, server, tmp_path):
    with download.fetched(archive("failing-once"), str(tmp_path), tries=2) as path:
        assert path.read_bytes() == CONTENT
    assert server.asked == ["failing-once"] * 2


def test_a_local_copy_is_compared_with_the_checksum_given(tmp_path, archive):
    path = tmp_path / "copy"
    path.write_bytes(CONTENT)
    assert download.checked(str(path), None, archive("good")) == SHA256
    assert download.checked(str(path), SHA256.upper(), archive("good")) == SHA256
    with pytest.raises(DataError, match=f"sha256 is {SHA256}, expected abc .*copy"):
        download.checked(str(path), "ABC", archive("good"))


@pytest.mark.parametrize("name", ["none", ""])
def test_a_local_copy_that_is_no_file(tmp_path, archive, name):
    with pytest.raises(FlagError, match=r"no such file .* - check --source_archive"):
        download.checked(str(tmp_path / name), None, archive("good"))
