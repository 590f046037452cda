"""Connections: what a client may do to hold one, and which one gives way to others."""

import asyncio
import json
import re
import time
import uuid
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from inference.server.errors import RETRY_SECONDS, STATUS

MAX_HEAD_BYTES = 16_384
HEAD_SECONDS = 5.0  # for all of the request line and headers
SEND_SECONDS = 15.0  # for a client to take what was sent before
LINGER_SECONDS = 1.0  # for a client to read why it is refused, before what it sends resets that
# One that came within this time may still be about to send: it does not give way. Not much longer,
# or an attacker whose connections are replaced all the time would keep others out.
_FRESH_SECONDS = 0.25
_STOPPING_SECONDS = 0.3  # for what a client sent before it could know that the server stops

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:.*$", re.IGNORECASE | re.MULTILINE)
_SENTENCES = {
    "bad_request": "The request is not valid HTTP.",
    "headers_too_large": "The headers of the request are too long.",
    "uri_too_long": "The address is too long.",
    "timeout": "The request came too slowly.",
    "busy": "The server has too many connections.",
}


class _Parser(h11.Connection):
    """h11's parser, stricter: it takes no head that is too long, and no repeated Content-Length."""

    refusal = "bad_request"  # why it refused

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            self._check(self.trailing_data[0])
        return super().next_event()

    def _check(self, received: bytes) -> None:
        end = _END_OF_HEAD.search(received)
        head = received[: end.end()] if end else received
        if len(head) > MAX_HEAD_BYTES:
            first_line = head.find(b"\n", 0, MAX_HEAD_BYTES)
            self.refusal = "uri_too_long" if first_line < 0 else "headers_too_large"
            raise h11.RemoteProtocolError("too long")
        lengths = _LENGTH.findall(head)
        if len(lengths) > 1 or any(b"," in length for length in lengths):
            raise h11.RemoteProtocolError("more than one Content-Length")


class Connections:
    """All connections of a server, of which there is a highest number.

    When it is reached, the one that has been waited for the longest gives way to a new one: idle,
    or not done with sending its request. If there is none, the new one is refused: with an answer,
    unless as many are being told so already.

    Args:
        limit: how many there may be.
        head_seconds: see HEAD_SECONDS.
        fresh_seconds: how long a connection has to send before it may have to give way.
    """

    def __init__(
        self,
        limit: int,
        head_seconds: float = HEAD_SECONDS,
        fresh_seconds: float = _FRESH_SECONDS,
    ) -> None:
        self._limit = limit
        self.head_seconds = head_seconds
        self._fresh_seconds = fresh_seconds
        self._open: set[_Protocol] = set()
        self._refused: set[_Protocol] = set()
        self._waited_for: dict[_Protocol, float] = {}  # since when, the longest first

    def protocol(self, **arguments: Any) -> "_Protocol":
        """What uvicorn is to make for each connection."""
        return _Protocol(connections=self, **arguments)

    def add(self, connection: "_Protocol") -> None:
        """Takes a new connection, or refuses it."""
        if len(self._open) < self._limit or self._give_way():
            self._open.add(connection)
            self.wait_for(connection)
            connection.expect_head()
        elif len(self._refused) < self._limit:
            self._refused.add(connection)
            connection.refuse("busy")
        else:
            connection.transport.abort()

    def wait_for(self, connection: "_Protocol") -> None:
        """It is the client's turn now."""
        self._waited_for.setdefault(connection, time.monotonic())

    def answer(self, connection: "_Protocol") -> None:
        """It is the server's turn now."""
        self._waited_for.pop(connection, None)

    def remove(self, connection: "_Protocol") -> None:
        """It is closed."""
        self._open.discard(connection)
        self._refused.discard(connection)
        self._waited_for.pop(connection, None)

    def _give_way(self) -> bool:
        longest, since = next(iter(self._waited_for.items()), (None, 0.0))
        if longest is None or time.monotonic() - since < self._fresh_seconds:
            return False
        self.remove(longest)
        longest.transport.abort()
        return True


class _Protocol(H11Protocol):
    """uvicorn's connection, with deadlines, errors in JSON, and a gentle end."""

    def __init__(self, connections: Connections, config: Config, **arguments: Any) -> None:
        super().__init__(config=config, **arguments)
        self.conn = _Parser(h11.SERVER)
        self._ours = connections
        self._is_refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._ours.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ours.remove(self)
        for timer in (self._head_timer, self._send_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._head_timer and self.conn.their_state is h11.IDLE:
            self.expect_head()
        super().data_received(data)
        self._take_turns()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._take_turns()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        self.refuse(self.conn.refusal)

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_STOPPING_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_timer.cancel()

    def expect_head(self) -> None:
        """Gives the client its time for the head of a request."""
        self._head_timer = self.loop.call_later(self._ours.head_seconds, self.refuse, "timeout")

    def _take_turns(self) -> None:
        if self.conn.their_state is not h11.IDLE and self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._ours.wait_for(self)
        else:
            self._ours.answer(self)

    def refuse(self, reason: str) -> None:
        """Says why, unless an answer has begun, and closes the connection a little later."""
        if self.transport.is_closing() or self._is_refused:
            return
        self._is_refused = True
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_refusal(reason))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _refusal(reason: str) -> bytes:
    """A whole answer, for a request that does not get as far as the application."""
    request_id = uuid.uuid4().hex
    content = {"error": _SENTENCES[reason], "reason": reason, "request_id": request_id}
    body = json.dumps(content).encode()
    status = STATUS[reason]
    retry = f"Retry-After: {RETRY_SECONDS}\r\n" if reason == "busy" else ""
    head = (
        f"HTTP/1.1 {status} {STATUS_PHRASES[status].decode()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + body
