"""Garbled pictures and garbled requests over HTTP: refused for a reason, and nothing more."""

import http.client
import json
import random
import re
import socket
import time

from inference.server.errors import STATUS
from tests.slow.campaign import fuzz_images
from tests.slow.campaign.serving import MAX_PIXELS, PATIENCE, Server
from tests.slow.campaign.trials import Failed, Row, Trial

FILES = 500  # per trial
REQUESTS = 100  # per trial
MOMENT = 0.1  # seconds in which a client that has sent all it has waits before it says so
REFUSED = {413, 415, 422}  # what a file may be answered with beside 200
ANSWERS = {100, 200, *STATUS.values()} - {500}  # what a garbled request may be answered with

# What no answer tells: a path, code, an address in memory, the version of a library.
_INTERNALS = re.compile(r"(?:^|[\s'\"(])/\w|Traceback|\.py\b|\b0x[0-9a-f]|\d\.\d+\.\d")
_FIRST_LINE = re.compile(rb"^HTTP/1\.1 (\d{3}) [A-Z]", re.MULTILINE)


def pictures_posted(trial: Trial) -> None:
    """Damaged files are posted; just those are classified that a conversion would take."""
    files = [content for _, content in (fuzz_images.mutated(trial.random) for _ in range(FILES))]
    examined = fuzz_images.examine(trial, files, MAX_PIXELS)
    readable = [what == "read" for what, _ in examined]
    server = Server(trial)
    connection = server.connection()
    for number, content in enumerate(files):
        started = time.monotonic()
        try:
            status = _post(trial, connection, content, as_form=number % 2 == 1)
        except TimeoutError:
            (trial.directory / f"culprit-{number}").write_bytes(content)
            raise Failed("hang", f"file {number} took more than {PATIENCE} s") from None
        trial.slowest = max(trial.slowest, time.monotonic() - started)
        expected = {200} if readable[number] else REFUSED
        if not trial.expect(status in expected, "lost", f"file {number} is answered by {status}"):
            (trial.directory / f"culprit-{number}").write_bytes(content)
        trial.checked["classified" if status == 200 else "refused"] += 1
    server.check_health()
    server.stop()


def _form(content: bytes) -> bytes:
    head = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    return head + content + b"\r\n--frontier--\r\n"


def _post(
    trial: Trial, connection: http.client.HTTPConnection, content: bytes, as_form: bool
) -> int:
    """Posts a picture; returns the status, when the answer to that is as it should be."""
    if as_form:
        headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
        connection.request("POST", "/classify", _form(content), headers)
    else:
        connection.request("POST", "/classify", content)
    answer = connection.getresponse()
    found = json.load(answer)
    if answer.status == 200:
        best = max(one["probability"] for one in found["predictions"])
        trial.expect(0 < best == found["probability"] <= 1, "lost", f"a prediction is {best}")
    else:
        _check_refusal(trial, answer.status, found, answer.getheader("X-Request-ID"))
    return answer.status


def _check_refusal(trial: Trial, status: int, found: dict, request_id: str | None) -> None:
    """A refusal gives a reason that programs know, and nothing of the server's inside."""
    told = json.dumps(found)
    is_whole = found.keys() == {"error", "reason", "request_id"}
    is_whole = is_whole and STATUS.get(found["reason"]) == status
    trial.expect(is_whole and found["request_id"] == request_id, "lost", f"{status}: {told}")
    trial.expect(not _INTERNALS.search(told), "traceback", told)


_PICTURE = fuzz_images.seeds()["PNG"][0]
_PREDICT = b'{"instances": [{"b64": "R0lGODlhAQABAAAAACw="}]}'


def _request(line: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    length = [b"Content-Length: %d" % len(body)] if body else []
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: x", *length, *headers, b"", body])


_FORM_TYPE = b"Content-Type: multipart/form-data; boundary=frontier"
_CHUNKED = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
_WHOLE = (
    _request(b"GET /healthz"),
    _request(b"GET /healthz") * 3,
    _request(b"HEAD /"),
    _request(b"POST /classify?top_k=2", _PICTURE),
    _request(b"POST /classify", _PICTURE, b"Expect: 100-continue"),
    _request(b"POST /classify", _form(_PICTURE), _FORM_TYPE),
    _request(b"POST /v1/models/classifier:predict", _PREDICT, b"Content-Type: application/json"),
    _CHUNKED + b"0\r\n\r\n",
    bytes.fromhex("16030100f5010000f10303") + bytes(200),  # how TLS begins
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
_WORDS = (
    *(b"", b"GET", b"POST", b"PUT", b"BREW", b"CONNECT", b"*", b"/", b"/classify", b"/../etc"),
    *(b"/%00", b"/" + b"a" * 20_000, b"http://x/classify", b"/classify?top_k=-1", b"\xff", b"\0"),
    *(b"HTTP/0.9", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/3", b"HTTP/1.1 x", b"/classify?top_k=9e9"),
)
_LINES = (
    *(b"Content-Length: %s" % value for value in (b"", b"0", b"5", b"-1", b"+5", b"0x5", b"5, 5")),
    *(b"Content-Length: %s" % value for value in (b"9" * 9, b"9" * 30, b"9" * 5000, b"five")),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"transfer-encoding:\tchunked"),
    *(b"Host: y", b"Host:", b"", b"nothing", b" folded", b": empty", b"X: a\0b", b"X: \xff\xfe"),
    *(b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"Expect: nothing"),
    *(b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=", b"\n"),
    *(b"Content-Type: text/plain", b"X: " + b"a" * 20_000, b"\r\n".join([b"X: a"] * 2000), b"0"),
)


def _garbled(chance: random.Random) -> bytes:
    """A request with one to four odd things in it."""
    data = bytearray(chance.choice(_WHOLE))
    for _ in range(chance.choice((1, 1, 2, 4))):
        lines = bytes(data).split(b"\r\n")
        at = chance.randrange(min(8, len(lines)))
        match chance.randrange(8) if data else 5:
            case 0:
                data = fuzz_images.flip_bits(data, chance)
            case 1:
                data = fuzz_images.overwrite(data, chance)
            case 2:
                data = fuzz_images.cut(data, chance)
            case 3:
                words = lines[0].split(b" ")
                words[chance.randrange(len(words))] = chance.choice(_WORDS)
                data = bytearray(b"\r\n".join([b" ".join(words), *lines[1:]]))
            case 4:
                data = bytearray(b"\r\n".join([*lines[:at], *lines[at + 1 :]]))
            case 5 | 6:
                lines.insert(at, chance.choice(_LINES))
                data = bytearray(b"\r\n".join(lines))
            case 7:
                lines[at] = chance.choice(_LINES)
                data = bytearray(b"\r\n".join(lines))
    return bytes(data)


def requests_garbled(trial: Trial) -> None:
    """Garbled requests are answered, or their connections closed."""
    server = Server(trial)
    for number in range(REQUESTS):
        data = _garbled(trial.random)
        try:
            received = _exchange(server.port, data)
        except TimeoutError:
            (trial.directory / f"culprit-{number}").write_bytes(data)
            raise Failed("hang", f"request {number}: no answer and no end") from None
        if not _is_allowed(trial, received):
            (trial.directory / f"culprit-{number}").write_bytes(data)
    server.check_health()
    server.stop()


def _is_allowed(trial: Trial, received: bytes) -> bool:
    """Whether that is nothing, or answers which a server may give and which tell no internals."""
    statuses = [int(status) for status in _FIRST_LINE.findall(received)]
    trial.checked[f"answered {statuses[0] // 100}xx" if statuses else "closed"] += 1
    begins = bool(_FIRST_LINE.match(received) or not received)
    right = begins and ANSWERS.issuperset(statuses)
    told = " ".join(re.findall(r'"error": "([^"]*)"', received.decode(errors="replace")))
    return trial.expect(right, "lost", f"answered {received[:80]}") and trial.expect(
        not _INTERNALS.search(told), "traceback", told
    )


def _exchange(port: int, data: bytes) -> bytes:
    """What is received until the server closes the connection; TimeoutError if it does not."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(MOMENT)
            try:
                while more := connection.recv(65536):
                    received += more
            except TimeoutError:  # it waits for more, for which it has a right to some seconds
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(PATIENCE)
                while more := connection.recv(65536):
                    received += more
        except ConnectionError:  # closed before all that was sent had been read
            pass
    return bytes(received)


ROWS = (
    Row("http_pictures", pictures_posted, 20),
    Row("http_requests", requests_garbled, 20),
)
