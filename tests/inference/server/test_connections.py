"""HTTP as it should not be, and clients that hold connections."""

import contextlib
import random
import re
import socket
import struct
import time

import psutil
import pytest

from inference.server.connections import Connections

POST = b"POST /classify HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n"
HELLO = b"\r\nhello"


def length(value):
    return b"Content-Length: %s\r\n" % value


# What is sent, and the status of the one answer, after which the connection is closed.
REFUSED = {
    "1 GB": (POST + length(b"1000000000") + HELLO, 413),
    "one byte too many": (POST + length(b"10000001") + b"\r\n", 413),
    "1 GB, asking first": (POST + length(b"1000000000") + b"Expect: 100-continue\r\n\r\n", 413),
    "no length": (POST + CLOSE + b"\r\n", 411),
    "negative length": (POST + length(b"-1") + HELLO, 400),
    "length with a sign": (POST + length(b"+5") + HELLO, 400),
    "length in words": (POST + length(b"five") + HELLO, 400),
    "hexadecimal length": (POST + length(b"0x5") + HELLO, 400),
    "fraction": (POST + length(b"5.0") + HELLO, 400),
    "empty length": (POST + length(b"") + HELLO, 400),
    "length with a blank": (POST + length(b"5 5") + HELLO, 400),
    "length of 30 digits": (POST + length(b"9" * 30) + HELLO, 400),
    "length of 5000 digits": (POST + length(b"9" * 5000) + HELLO, 400),
    "two lengths": (POST + length(b"5") + length(b"6") + HELLO, 400),
    "the same length twice": (POST + length(b"5") + length(b"5") + HELLO, 400),
    "the same in other letters": (POST + length(b"5") + b"cOnTeNt-LeNgTh:5\r\n" + HELLO, 400),
    "list of lengths": (POST + length(b"5, 5") + HELLO, 400),
    "blank before the colon": (POST + b"Content-Length : 5\r\n" + HELLO, 400),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
    "chunked, with length": (
        POST + b"Transfer-Encoding: chunked\r\n" + length(b"5") + b"\r\n0\r\n\r\n" + GET + b"\r\n",
        411,
    ),
    "length, with chunked": (
        POST + length(b"5") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET + b"\r\n",
        411,
    ),
    "chunked without chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\nGET / HTTP/1.1\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + HELLO, 400),
    "other encoding": (POST + b"Transfer-Encoding: gzip\r\n" + HELLO, 400),
    "odd encoding": (POST + b"Transfer-Encoding: xchunked\r\n" + HELLO, 400),
    "100 KB of header": (GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "10,000 headers": (GET + b"X: a\r\n" * 10_000 + b"\r\n", 431),
    "headers without end": (GET + b"X: a\r\n" * 10_000, 431),
    "64 KB of path": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "64 KB without a line": (b"a" * 65_536, 414),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: y\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "HTTP/one": (b"GET / HTTP/one\r\nHost: x\r\n\r\n", 400),
    "TLS hello": (bytes.fromhex("16030100f5010000f10303") + bytes(200), 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400),
    "method of two words": (b"GET IT / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "header without colon": (GET + b"nothing\r\n\r\n", 400),
    "NUL in a header": (GET + b"X: a\0b\r\n\r\n", 400),
    "lines without end": (b"\r\n\r\n\r\n\r\n", 400),
    "unknown method": (b"BREW /healthz HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n", 405),
    "body that is not wanted": (GET + length(b"100000000") + HELLO, 200),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_there_is_one_answer_and_the_end(server, data, status):
    (answer,) = server.send(data)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    content = answer.json()
    if status != 200:
        assert content["request_id"] == answer.headers["x-request-id"]
        assert re.fullmatch(r"[A-Z][^\n]*\.", content["error"])


def test_the_largest_claim_is_refused_without_waiting_for_it(server):
    with server.connect() as connection:
        connection.sendall(POST + length(b"1000000000") + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_refused_upload_can_be_sent_on_until_the_answer_is_read(server):
    with server.connect() as connection:
        connection.sendall(POST + length(b"50000000") + b"\r\n" + bytes(5_000_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_head_in_pieces_is_put_together(server, picture):
    request = POST + length(b"%d" % len(picture("red"))) + CLOSE + b"\r\n" + picture("red")
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), 7):
            connection.sendall(request[at : at + 7])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_hundred_requests_in_a_row_are_answered_in_order(server, picture):
    names = [("red", "green", "blue")[number % 3] for number in range(100)]
    requests = [
        POST + length(b"%d" % len(picture(name))) + b"\r\n" + picture(name) for name in names
    ]
    found = server.send(b"".join(requests) + GET + CLOSE + b"\r\n")
    assert [answer.status for answer in found] == [200] * 101
    assert [answer.json()["class"] for answer in found[:-1]] == names


def test_after_an_error_the_connection_goes_on_if_the_request_was_read(server):
    text = POST + length(b"5") + HELLO
    found = server.send(text + text + GET + CLOSE + b"\r\n")
    assert [answer.status for answer in found] == [415, 415, 200]


def test_what_follows_a_body_is_the_next_request(server):
    found = server.send(POST + length(b"4") + b"\r\nabcdGARBAGE\r\n\r\n")
    assert [answer.status for answer in found] == [415, 400]


@pytest.mark.parametrize(
    "path",
    [
        *("/../", "/../../etc/passwd", "/static/../app.py", "/static/..%2fapp.py", "//etc/passwd"),
        *("/%2e%2e/%2e%2e/etc/passwd", "/static/%2e%2e/app.py", "/static/....//app.py", "/%00"),
        *("/static/page.css%00.html", "/static//etc/passwd", "/static/C:\\x", "/%ff%fe", "/;/"),
        *("http://other/healthz", "*", "/healthz/", "/healthz%2f", "/HEALTHZ", "/" + "a" * 10_000),
        *("/static/__init__.py", "/.git/config", "/classify/..;/", "/%252e%252e/", "/~root"),
    ],
)
def test_odd_paths_lead_nowhere(server, path):
    answer = server.ask("GET", path)
    assert (answer.status, answer.json()["reason"]) == (404, "not_found")


def test_garbage_never_hurts(server, picture):
    """Requests that are mangled at random, by a seed, are each answered, or the end."""
    noise = random.Random(20261126)
    whole = POST + length(b"%d" % len(picture("red"))) + CLOSE + b"\r\n" + picture("red")
    for _ in range(300):
        mangled = bytearray(whole)
        for _ in range(noise.choice((1, 3, 30))):
            mangled[noise.randrange(90)] = noise.randrange(256)
        with server.connect() as connection, contextlib.suppress(ConnectionError):
            connection.sendall(mangled[: noise.choice((60, len(mangled)))])
            connection.shutdown(socket.SHUT_WR)
            received = connection.recv(65536)
            assert received == b"" or re.match(rb"HTTP/1\.1 (200|4\d\d|505) ", received)
    assert server.classify(picture("red")).json()["class"] == "red"


def test_a_head_has_to_come_in_time(run_server, colour_run):
    connections = Connections(64, head_seconds=0.2)
    with run_server(colour_run, connections=connections) as server:
        for data in (b"", b"GET / HT", GET):
            with server.connect() as connection:
                connection.sendall(data)
                assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
                assert connection.recv(65536) == b""


def test_a_head_that_trickles_has_no_more_time_than_others(run_server, colour_run):
    connections = Connections(64, head_seconds=0.3)
    with run_server(colour_run, connections=connections) as server, server.connect() as connection:
        connection.sendall(GET)
        connection.settimeout(0.05)
        received = b""
        while not received:
            connection.sendall(b"X: a\r\n")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 408 ")


def test_the_next_head_on_a_connection_has_its_own_time(run_server, colour_run):
    connections = Connections(64, head_seconds=0.2)
    with run_server(colour_run, connections=connections) as server, server.connect() as connection:
        connection.sendall(GET + b"\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(65536)
        connection.sendall(GET)
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_who_waits_longest_gives_way_to_who_comes(run_server, colour_run, picture):
    connections = Connections(8, head_seconds=60, fresh_seconds=0)
    with (
        run_server(colour_run, connections=connections) as server,
        contextlib.ExitStack() as stack,
    ):
        idle = [stack.enter_context(server.connect()) for _ in range(30)]
        for connection in idle:
            connection.sendall(b"GET / HT")
        for _ in range(3):
            assert server.classify(picture("red")).status == 200
        closed = 0
        for connection in idle[:23]:  # at most 8 are left, with the one that was served last
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            closed += 1
        assert closed == 23


def test_who_finds_no_room_is_told_to_come_again(run_server, colour_run):
    connections = Connections(4, fresh_seconds=60)
    with (
        run_server(colour_run, connections=connections) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            stack.enter_context(server.connect()).sendall(b"GET / HT")
        (answer,) = server.send(GET + b"\r\n")
        assert (answer.status, answer.json()["reason"]) == (503, "busy")
        assert answer.headers["retry-after"] == "1"


def test_five_hundred_half_open_connections_leave_room_for_others(run_server, colour_run, picture):
    with run_server(colour_run) as server, contextlib.ExitStack() as stack:
        threads = psutil.Process().num_threads()
        for _ in range(500):
            stack.enter_context(server.connect()).sendall(GET + b"X: ")
        for _ in range(20):
            assert server.classify(picture("red")).status == 200
        assert psutil.Process().num_threads() <= threads + 2


def test_clients_that_vanish_leave_nothing(run_server, colour_run, picture):
    request = POST + length(b"%d" % len(picture("red"))) + b"\r\n" + picture("red")
    with run_server(colour_run) as server:
        assert server.classify(picture("red")).status == 200
        process = psutil.Process()
        before = process.num_fds()
        for number in range(300):
            with server.connect() as connection:
                connection.sendall(request[: (20, 60, 90, len(request))[number % 4]])
                if number % 2:  # closing is then a reset
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # What they sent is worked on first, and that they ended is read after it.
        deadline = time.monotonic() + 20
        while process.num_fds() > before + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.num_fds() <= before + 2
        while "queue_length 0.0" not in server.ask("GET", "/metrics").body.decode():
            assert time.monotonic() < deadline


def test_who_does_not_read_is_cut_off(run_server, colour_run, monkeypatch):
    monkeypatch.setattr("inference.server.connections.SEND_SECONDS", 0.2)
    with run_server(colour_run) as server, server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        with contextlib.suppress(ConnectionError):  # which is how this ends
            while True:
                connection.sendall(ask * 100)
        assert server.ask("GET", "/healthz").json()["status"] == "ok"
