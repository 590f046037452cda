"""Reading what a request carries, within bounds of size, time and memory."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from inference.server.errors import BusyError, RequestError

# A body has to come at this rate, after a start: 15 s for a small one, 17 minutes for 10 MB.
GRACE_SECONDS = 15.0
BYTES_PER_SECOND = 10_000
MULTIPART_BYTES = 4096  # what a form may take around its file


class Bodies:
    """Reads bodies, and knows how much memory those that are being worked on take.

    Args:
        max_bytes: what all together may take; what comes when that is full is refused.
        grace_seconds: see GRACE_SECONDS.
    """

    def __init__(self, max_bytes: int, grace_seconds: float = GRACE_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._grace_seconds = grace_seconds
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The body of a request; its memory counts until the block ends.

        Args:
            request: with a Content-Length.
            limit: its length at most, bytes.

        Raises:
            RequestError: there is no length, it is beyond the limit (which is found before anything
                is read), the body comes too slowly, or there is no room for it.
            ClientDisconnect: the client has gone.
        """
        if "content-length" not in request.headers:
            raise RequestError("length_required", "The request has to have a Content-Length.")
        if int(request.headers["content-length"]) > limit:
            raise too_large(limit)
        body = bytearray()
        try:
            async for chunk in self._chunks(request):
                body += chunk
                self._bytes += len(chunk)
                if self._bytes > self._max_bytes:
                    raise BusyError("The server is busy with other uploads.")
            yield bytes(body)
        finally:
            self._bytes -= len(body)

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        started, received, more = time.monotonic(), 0, True
        while more:
            allowed = self._grace_seconds + received / BYTES_PER_SECOND
            left = started + allowed - time.monotonic()
            try:
                message = await asyncio.wait_for(request.receive(), left)
            except asyncio.TimeoutError:
                raise RequestError("timeout", "The request came too slowly.") from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            received += len(message["body"])
            more = message["more_body"]
            yield message["body"]


def too_large(limit: int) -> RequestError:
    """What is said of an upload of more bytes than the limit."""
    return RequestError("too_large", f"The upload is larger than {limit} bytes.")


class _FormParser(MultiPartParser):
    spool_max_size = sys.maxsize  # the body is in memory already: none of it goes to the disk


async def file_of_form(request: Request, body: bytes) -> bytes:
    """The file in the part `image` of a form; RequestError unless that is all it holds."""

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await _FormParser(request.headers, chunks(), max_files=1, max_fields=0).parse()
    except MultiPartException:
        form = None
    part = form.get("image") if form else None
    if not isinstance(part, UploadFile):
        raise RequestError("bad_request", "The form has to hold one file, in a part named image.")
    return await part.read()
