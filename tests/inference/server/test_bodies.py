"""Reading bodies: slow ones, too many at a time, and clients that go."""

import dataclasses
import socket
import threading

import pytest

from inference.server.bodies import Bodies

POST = b"POST /classify HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def impatient(run_server, colour_run):
    """A server that waits 0.2 s for a body, and has memory for 100 KB of them."""

    def change(parts):
        return dataclasses.replace(parts, bodies=Bodies(100_000, grace_seconds=0.2))

    with run_server(colour_run, change=change) as server:
        yield server


def test_a_body_that_does_not_come_is_not_waited_for(impatient):
    (answer,) = impatient.send(POST + b"Content-Length: 1000\r\n\r\nbegun")
    assert (answer.status, answer.json()["reason"]) == (408, "timeout")
    assert answer.headers["connection"] == "close"


def test_a_body_that_trickles_is_not_waited_for(impatient):
    with impatient.connect() as connection:
        connection.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        connection.settimeout(0.02)
        received = b""
        while not received:
            connection.sendall(b"x")
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")


def test_what_is_beyond_the_memory_for_bodies_is_told_to_come_again(impatient, picture):
    (answer,) = impatient.send(POST + b"Content-Length: 200000\r\n\r\n" + bytes(200_000))
    assert (answer.status, answer.json()["reason"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    for _ in range(20):  # its memory is free again
        data = picture("red") + bytes(60_000)
        assert impatient.classify(data).status == 200


def test_memory_is_free_again_when_a_client_has_gone(impatient, picture):
    for _ in range(5):
        with impatient.connect() as connection:
            connection.sendall(POST + b"Content-Length: 90000\r\n\r\n" + bytes(50_000))
    while impatient.classify(picture("red") + bytes(90_000)).status != 200:
        pass  # the server has not seen the end of all of them yet


def test_an_upload_may_take_longer_when_much_of_it_has_come(impatient, picture):
    stalled = POST + b"Content-Length: 60000\r\n\r\n"
    data = picture("red") + bytes(60_000 - len(picture("red")))
    with impatient.connect() as connection:
        connection.sendall(stalled + data[:-1])
        (answer,) = impatient.send(stalled)  # which takes as long as a body without any bytes may
        assert answer.status == 408
        connection.sendall(data[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_uploads_in_pieces_at_the_same_time_are_kept_apart(server, picture):
    names = ["red", "green", "blue"] * 4
    answers = {}

    def upload(number):
        data = picture(names[number])
        with server.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(data))
            for at in range(0, len(data), 50):
                connection.sendall(data[at : at + 50])
            answers[number] = connection.makefile("rb").read()

    threads = [threading.Thread(target=upload, args=[number]) for number in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, name in enumerate(names):
        assert b'{"class":"%s"' % name.encode() in answers[number]
