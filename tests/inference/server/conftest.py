"""A server in a thread of the tests, and what is sent to it byte by byte."""

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
import struct
import threading
import zlib

import pytest

import serve_image_classifier
from core import flags
from inference.server import addresses, models, serving
from inference.server.connections import Connections

PATIENCE = 20  # seconds, for what happens at once unless something is broken
QUICK = ("--reload_secs=0", "--decoding_processes=1", "--drain_secs=5")


@dataclasses.dataclass
class Answer:
    """One HTTP answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class RunningServer:
    """A server on a port of its own."""

    def __init__(self, bound):
        self.port = bound.getsockname()[1]
        self.parts = None  # serving's Service
        self.loop = None
        self.stopping = threading.Event()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(PATIENCE)
        return connection

    def send(self, data):
        """What comes back on a connection of its own until the server closes it."""
        with self.connect() as connection:
            # The server may refuse before it has read all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return answers(read_all(connection))

    def ask(self, method, path, body=None, **headers):
        """One request, which is the last of its connection."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        (answer,) = self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return answer

    def classify(self, picture):
        return self.ask("POST", "/classify", picture)


def read_all(connection):
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def answers(received):
    """Takes apart what a server sent, which has to be whole answers."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)[1])
        if status == 100:
            received = rest
            continue
        length = int(headers["content-length"])
        assert len(rest) >= length
        found.append(Answer(status, headers, rest[:length]))
        received = rest[length:]
    return found


@contextlib.contextmanager
def running(path, *arguments, connections=None, change=lambda parts: parts, opened=models.opened):
    """A server until the block ends.

    Args:
        path: what it serves.
        arguments: its flags.
        connections: its connections, if others than by the flags.
        change: what is changed about its parts.
        opened: opens the model.
    """
    arguments = [f"--checkpoint_path={path}", *QUICK, *arguments]
    config = flags.parse(serve_image_classifier.define, arguments)
    bound = addresses.bound_socket("127.0.0.1", 0)
    server = RunningServer(bound)
    listening = threading.Event()
    version = models.newest(str(path))
    predictor = opened(str(path))

    async def serve():
        async with serving.service(config, version, predictor) as parts:
            server.parts, server.loop = change(parts), asyncio.get_running_loop()
            await serving.Server(
                server.parts,
                connections or Connections(config.max_connections),
                config.drain_secs,
                server.stopping,
                listening.set,
            ).serve([bound])

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        assert listening.wait(PATIENCE)
        yield server
    finally:
        server.stopping.set()
        thread.join(PATIENCE)
        bound.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def server(colour_run):
    """A server of `colour_run`, which tests leave as it is."""
    with running(colour_run) as server:
        yield server


@pytest.fixture(scope="session")
def picture(colour_folder):
    """picture("red") is a PNG file of which the model of `colour_run` knows the class."""
    return lambda name: (colour_folder / name / "0.png").read_bytes()


@pytest.fixture(scope="session")
def run_server():
    """`with run_server(path, *flags) as server:` is a server of its own; see `running`."""
    return running


@pytest.fixture(scope="session")
def png_header():
    """png_header(width, height): a PNG file that claims a size, without its pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    def png_header(width, height):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")

    return png_header
