"""Uploads are checked and decoded in child processes, which can die or hang without harm."""

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from core.errors import MachineError
from inference.server import decoder
from inference.server.errors import RequestError, UnreadableImageError

_ROOT = Path(__file__).resolve().parents[2]
_MODULE = "inference.server.decoder"
_SIZE = struct.Struct(">II")  # height and width, as the child gives them
_START_SECONDS = 30.0  # a child takes 0.2 s to start on an idle machine
_RETRY_SECONDS = 1.0
# One that is as large as allowed takes 5 s to decode and to encode again.
PICTURE_SECONDS = 20

_DIED = (asyncio.TimeoutError, EOFError, OSError, ValueError)


class Picture(NamedTuple):
    """A picture that has been found readable."""

    encoded: bytes  # a complete PNG or JPEG file
    pixels: int


class _Child:
    """A decoding process; see `decoder` for what is spoken."""

    def __init__(self, process: asyncio.subprocess.Process, largest: int) -> None:
        self._process = process
        self._largest = largest

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """The frame that answers a picture; one of _DIED if there comes none."""
        self._process.stdin.write(decoder.FRAME.pack(decoder.PICTURE, len(data)) + data)
        await self._process.stdin.drain()
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """The next frame; one of _DIED if there comes none."""
        head = await self._process.stdout.readexactly(decoder.FRAME.size)
        kind, length = decoder.FRAME.unpack(head)
        if length > self._largest:  # it has been taken over, and shall not fill our memory
            raise ValueError("a frame that is too long")
        return kind, await self._process.stdout.readexactly(length)

    async def kill(self) -> None:
        """Ends the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class DecodingPool:
    """Child processes that decode, each one picture at a time.

    Args:
        processes: how many.
        max_pixels: width times height above which a picture is refused by its header.
        picture_seconds: how long a picture may take, on the clock and of the processor.
        command: what a child runs; tests pass commands that misbehave.
    """

    def __init__(
        self,
        processes: int,
        max_pixels: int,
        picture_seconds: int = PICTURE_SECONDS,
        command: Sequence[str] = (sys.executable, "-m", _MODULE),
    ) -> None:
        self._processes = processes
        self._seconds = picture_seconds
        self._command = [*command, str(max_pixels), str(picture_seconds)]
        # What can be uploaded and has been decoded takes up to 4 bytes a pixel when encoded again.
        self._largest = 4 * max_pixels + (1 << 20)
        self._jobs: asyncio.Queue[tuple[bytes, asyncio.Future]] = asyncio.Queue()
        self._workers: list[asyncio.Task] = []

    async def __aenter__(self) -> "DecodingPool":
        children = await asyncio.gather(*(self._started() for _ in range(self._processes)))
        self._workers = [asyncio.create_task(self._work(child)) for child in children]
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def load(self, data: bytes) -> Picture:
        """Checks an uploaded file, and turns it into what a predictor takes.

        Raises:
            RequestError: it is no image, too large, damaged, or its decoder died of it or hung.
        """
        outcome = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((data, outcome))
        return _picture(data, *await outcome)

    async def _work(self, child: _Child) -> None:
        """Answers one job after the other, by a new child whenever one is lost."""
        try:
            while True:
                data, outcome = await self._jobs.get()
                if outcome.done():  # nobody waits for it any more
                    continue
                lost = False
                try:
                    answer = await asyncio.wait_for(child.ask(data), self._seconds)
                except _DIED:
                    answer, lost = (decoder.UNREADABLE, b"its decoder failed"), True
                if not outcome.done():
                    outcome.set_result(answer)
                if lost:
                    child = await self._replaced(child)
        finally:
            await child.kill()

    async def _replaced(self, child: _Child) -> _Child:
        await child.kill()
        while True:
            try:
                return await self._started()
            except MachineError as error:
                logging.error("%s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _started(self) -> _Child:
        """A child that is ready; MachineError if it cannot be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=_ROOT,
                # Else its numpy sets address space aside for a thread of every core.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server
            )
        except OSError as error:
            raise _does_not_start(error.strerror) from None
        child = _Child(process, self._largest)
        try:
            await asyncio.wait_for(child.answer(), _START_SECONDS)
        except _DIED:
            await child.kill()
            raise _does_not_start("it ended before it was ready") from None
        except asyncio.CancelledError:
            await child.kill()
            raise
        return child


def _does_not_start(why: str) -> MachineError:
    return MachineError(f"a process that decodes pictures does not start: {why}")


def _picture(data: bytes, kind: int, content: bytes) -> Picture:
    """What a child's answer to an upload says; RequestError if that is bad."""
    what = content.decode(errors="replace")
    if kind == decoder.NOT_AN_IMAGE:
        raise RequestError("not_an_image", f"The upload cannot be read as an image: {what}.")
    if kind == decoder.TOO_MANY_PIXELS:
        raise RequestError("too_large", f"The image is too large: {what}.")
    if kind == decoder.UNREADABLE:
        raise UnreadableImageError(f"The image cannot be read: {what}.")
    height, width = _SIZE.unpack_from(content)
    encoded = data if kind == decoder.KEPT else content[_SIZE.size :]
    return Picture(encoded, height * width)
