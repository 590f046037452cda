"""Decoding in child processes: real pictures, and children that die, hang and lie."""

import asyncio
import io
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import psutil
import pytest

from core.errors import MachineError
from datasets import images
from inference.server.decoding import DecodingPool
from inference.server.errors import RequestError, UnreadableImageError

# A child that does as the picture says, by the functions of the real one.
CHILD = """
import os, signal, sys, time
sys.path.insert(0, os.getcwd())
from datasets import images
from inference.server import decoder

def load(data, max_pixels):
    if data == b"die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"exit":
        os._exit(0)
    if data == b"sleep":
        time.sleep(1000)
    while data == b"spin":
        pass
    if data == b"eat":
        return bytearray(1 << 40)
    if data == b"flood":
        sys.stdout.buffer.write(decoder.FRAME.pack(decoder.OTHERWISE, 2**32 - 1))
        sys.stdout.buffer.flush()
    if data == b"lie":
        sys.stdout.buffer.write(b"no frame")
        os._exit(0)
    return images.EncodedImage(data, "png", 1, 1)

images.load = load
decoder.main(*map(int, sys.argv[1:]))
"""
BAD_CHILD = (sys.executable, "-c", CHILD)
LOST = ["die", "exit", "sleep", "spin", "flood", "lie"]


def in_pool(work, **options):
    """What `work(pool)` gives; `pool.children()` are its processes."""
    others = psutil.Process().children()

    async def run():
        async with DecodingPool(**({"processes": 1, "max_pixels": 10_000} | options)) as pool:
            pool.children = lambda: [c for c in psutil.Process().children() if c not in others]
            return await work(pool)

    return asyncio.run(run())


def encoded(format_, mode="RGB", **options):
    buffer = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (20, 30, 4)).astype(np.uint8)
    PIL.Image.fromarray(noise).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        *(("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK")),
        *(("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB")),
    ],
)
def test_a_picture_is_what_conversion_makes_of_it(format_, mode):
    data = encoded(format_, mode)
    picture = in_pool(lambda pool: pool.load(data))
    assert picture.encoded == images.load(data).encoded
    assert picture.pixels == 600


def test_children_know_no_tensorflow_and_end_with_the_pool():
    async def maps(pool):
        await pool.load(encoded("PNG"))
        children = pool.children()
        loaded = [Path(f"/proc/{child.pid}/maps").read_text() for child in children]
        return children, loaded

    children, loaded = in_pool(maps, processes=2)
    assert len(loaded) == 2
    assert all("PIL" in text and "tensorflow" not in text for text in loaded)
    assert psutil.wait_procs(children, timeout=10)[1] == []


@pytest.mark.parametrize("fault", LOST)
def test_a_child_that_is_lost_takes_its_picture_with_it_and_no_other(fault):
    async def work(pool):
        return await asyncio.gather(
            *(pool.load(data) for data in (b"before", fault.encode(), b"after")),
            return_exceptions=True,
        )

    options = {"command": BAD_CHILD, "picture_seconds": 1}
    before, lost, after = in_pool(work, **options)
    assert (before.encoded, after.encoded) == (b"before", b"after")
    assert isinstance(lost, UnreadableImageError)
    assert lost.sentence == "The image cannot be read: its decoder failed."


def test_a_picture_that_wants_too_much_memory_is_refused_and_the_child_lives():
    async def work(pool):
        before = pool.children()
        with pytest.raises(UnreadableImageError, match="takes too much memory"):
            await pool.load(b"eat")
        assert (await pool.load(b"good")).encoded == b"good"
        return before, pool.children()

    before, after = in_pool(work, command=BAD_CHILD)
    assert before == after


def test_an_idle_child_that_is_killed_is_replaced():
    async def work(pool):
        await pool.load(encoded("PNG"))
        (child,) = pool.children()
        child.kill()
        with pytest.raises(UnreadableImageError):
            await pool.load(encoded("PNG"))
        return await pool.load(encoded("PNG"))

    assert in_pool(work).pixels == 600


def test_other_children_go_on_while_one_hangs():
    async def work(pool):
        hanging = asyncio.create_task(pool.load(b"sleep"))
        found = [await pool.load(b"%d" % number) for number in range(20)]
        hanging.cancel()
        return found

    found = in_pool(work, command=BAD_CHILD, processes=2, picture_seconds=60)
    assert [picture.encoded for picture in found] == [b"%d" % number for number in range(20)]


def test_a_picture_that_nobody_waits_for_does_not_disturb_the_next():
    async def work(pool):
        given_up = asyncio.create_task(pool.load(encoded("PNG")))
        await asyncio.sleep(0)
        given_up.cancel()
        return await pool.load(encoded("JPEG"))

    assert in_pool(work).encoded == encoded("JPEG")


@pytest.mark.parametrize(
    "command", [(sys.executable, "-c", ""), ("/bin/false",), ("cat",), ("/no/such/program",)]
)
def test_children_that_do_not_start_are_an_error_of_the_machine(command, monkeypatch):
    monkeypatch.setattr("inference.server.decoding._START_SECONDS", 1)
    with pytest.raises(MachineError, match="does not start"):
        in_pool(lambda _: None, command=command)


def test_a_bomb_is_refused_without_its_memory(png_header):
    async def work(pool):
        (child,) = pool.children()
        before = child.memory_info().rss
        with pytest.raises(RequestError) as caught:
            await pool.load(png_header(50_000, 50_000))
        return caught.value, child.memory_info().rss - before

    error, growth = in_pool(work)
    assert (error.status, error.reason) == (413, "too_large")
    assert growth < 20e6
