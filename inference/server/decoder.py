"""The child process that decodes uploads, so that a picture which kills or traps it hurts nobody.

    python -m inference.server.decoder MAX_PIXELS CPU_SECONDS

It says READY, then answers each picture on its standard input. Pictures and answers are frames: a
kind (one byte), a length (four bytes, big-endian), so many bytes. That is all the two processes
share: nothing of what a child says is ever executed or unpickled.
"""

import contextlib
import resource
import signal
import struct
import sys
from typing import BinaryIO

from core.errors import DataError
from datasets import images

FRAME = struct.Struct(">BI")

# The kinds of frames. KEPT: the picture can be classified as it came; OTHERWISE: as the answer has
# it. The others carry what is wrong with it.
PICTURE, READY, KEPT, OTHERWISE, NOT_AN_IMAGE, TOO_MANY_PIXELS, UNREADABLE = range(7)

# Address space for a picture. The most that was seen is 24 bytes a pixel, for a lossless WebP with
# transparency, which holds six copies of it at a time.
_BYTES_PER_PIXEL = 36
_BYTES_BESIDE = 64 << 20  # the upload, and tables of the codecs


def main(max_pixels: int, cpu_seconds: int) -> None:
    """Answers pictures until standard input ends, which it does when the server ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server stops its children when it has done
        signal.signal(number, signal.SIG_IGN)
    with open("/proc/self/statm", encoding="ascii") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, in_use + _BYTES_BESIDE + _BYTES_PER_PIXEL * max_pixels)
    _limit(resource.RLIMIT_CORE, 0)
    _write(READY, b"")
    while head := sys.stdin.buffer.read(FRAME.size):
        _, length = FRAME.unpack(head)
        data = sys.stdin.buffer.read(length)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds)
        _write(*_answer(data, max_pixels))


def _limit(what: int, value: int) -> None:
    """Sets a soft limit, at most to the hard one."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _answer(data: bytes, max_pixels: int) -> tuple[int, bytes]:
    """The kind and the content of the frame that answers a picture."""
    try:
        picture = images.load(data, max_pixels)
    except images.NotAnImageError as error:
        return NOT_AN_IMAGE, _brief(error)
    except images.TooManyPixelsError as error:
        return TOO_MANY_PIXELS, _brief(error)
    except DataError as error:
        return UNREADABLE, _brief(error)
    except MemoryError:
        return UNREADABLE, b"takes too much memory"
    size = struct.pack(">II", picture.height, picture.width)
    return (KEPT, size) if picture.encoded is data else (OTHERWISE, size + picture.encoded)


def _brief(error: DataError) -> bytes:
    """What is wrong, without the parenthesis: a decoder's words, which can quote addresses."""
    return error.what.partition(" (")[0].encode()


def _write(kind: int, content: bytes) -> None:
    pipe: BinaryIO = sys.stdout.buffer
    pipe.write(FRAME.pack(kind, len(content)) + content)
    pipe.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(*map(int, sys.argv[1:]))
