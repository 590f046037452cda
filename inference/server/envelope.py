"""What every request gets around it: an id, its time in the metrics, an answer whatever happens."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable

from absl import logging
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.server.connections import LINGER_SECONDS
from inference.server.errors import RequestError, answer

HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' blob: data:"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
)
_CLOSE = (b"connection", b"close")


class Envelope:
    """ASGI middleware around the application.

    Args:
        app: the application.
        observe: is told route, status and seconds of each request.
        is_stopping: whether the server is about to end.
    """

    def __init__(
        self,
        app: ASGIApp,
        observe: Callable[[str, int, float], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._app = app
        self._observe = observe
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        started = time.monotonic()
        scope.setdefault("state", {})["request_id"] = uuid.uuid4().hex
        exchange = _Exchange(scope, receive, send, self._is_stopping)
        error = await self._failure(scope, exchange)
        if error and not exchange.status:
            response = answer(error, scope["state"]["request_id"])
            await response(scope, exchange.receive, exchange.send)
        route = getattr(scope.get("route"), "path", "other")
        self._observe(route, exchange.status, (exchange.answered or time.monotonic()) - started)

    async def _failure(self, scope: Scope, exchange: "_Exchange") -> RequestError | None:
        """Lets the application answer; what remains to be answered, if it does not."""
        try:
            _check_framing(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except RequestError as error:
            return error
        except ClientDisconnect:
            return None
        except asyncio.CancelledError:  # uvicorn has waited for us as long as it may
            return RequestError("stopping", "The server is stopping.")
        except Exception as error:
            request_id = scope["state"]["request_id"]
            logging.error("request %s: %s: %s", request_id, type(error).__name__, error)
            logging.debug("request %s", request_id, exc_info=error)
            return RequestError("internal", "The server failed; its log says more.")
        return None


class _Exchange:
    """A request and its answer, as they pass by.

    An answer that comes before the request has been read is the last one of its connection, since
    nobody can tell what follows; and the connection is kept for a moment, in which what still comes
    is thrown away, for closing it at once could take the answer from the client.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, is_stopping: Callable[[], bool]
    ) -> None:
        headers = dict(scope["headers"])
        self._has_more = (
            b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        )
        self._is_stopping = is_stopping
        self._extra = [*HEADERS, (b"x-request-id", scope["state"]["request_id"].encode())]
        self._receive, self._send = receive, send
        self.status = 0  # none yet; stays so for a client that has gone
        self.answered = 0.0  # when, on the monotonic clock

    async def receive(self) -> Message:
        """The application's view of the request."""
        message = await self._receive()
        self._has_more = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Takes the application's answer."""
        if message["type"] == "http.response.start":
            self.status, self.answered = message["status"], time.monotonic()
            is_last = self._has_more or self._is_stopping()
            close = [_CLOSE] if is_last else []
            message["headers"] = [*message["headers"], *self._extra, *close]
        elif self._has_more and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        async def rest() -> None:
            while self._has_more:
                await self.receive()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rest(), LINGER_SECONDS)


def _check_framing(scope: Scope) -> None:
    """RequestError for a request whose body has no length from the start, or of unknown HTTP."""
    if scope["http_version"] not in ("1.0", "1.1"):
        raise RequestError(
            "unsupported_http_version", "The server speaks HTTP/1.1.", [("Connection", "close")]
        )
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        raise RequestError("length_required", "The request has to have a Content-Length.")
