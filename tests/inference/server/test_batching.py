"""Batches of pictures that several requests wait for."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from core.errors import DataError, DivergedError
from inference.predictor import Predictor
from inference.server.batching import Batcher
from inference.server.classifying import Classifier
from inference.server.decoding import Picture
from inference.server.errors import BusyError, RequestError, UnreadableImageError


def predictor(batches, release=None):
    """A predictor whose output for a picture is the number in it, and which notes its batches."""

    def run(encoded):
        if release:
            assert release.wait(20)
        batches.append(encoded)
        if b"damaged" in encoded:
            raise DataError("damaged")
        if b"diverged" in encoded:
            raise DivergedError("NaN")
        return np.array([[int(one)] for one in encoded], np.float32)

    return Predictor(model=None, run=run)


def picture(number, pixels=1):
    return Picture(str(number).encode() if isinstance(number, int) else number, pixels)


def with_batcher(work, max_batch_size=4, max_pixels=1000, max_wait_seconds=0.0, observe=None):
    async def run():
        with ThreadPoolExecutor(1) as thread:
            observed = {"observe": observe} if observe else {}
            async with Batcher(
                thread, max_batch_size, max_pixels, max_wait_seconds, **observed
            ) as batcher:
                return await work(batcher)

    return asyncio.run(run())


def test_pictures_that_wait_go_together_and_each_gets_its_own():
    batches, sizes = [], []
    model = predictor(batches)

    async def work(batcher):
        return await asyncio.gather(
            *(batcher.probabilities(picture(number), model) for number in range(10))
        )

    found = with_batcher(work, observe=sizes.append)
    assert [row.tolist() for row in found] == [[number] for number in range(10)]
    assert sizes == [len(batch) for batch in batches] == [4, 4, 2]


def test_a_picture_waits_for_others():
    batches = []
    model = predictor(batches)

    async def work(batcher):
        first = asyncio.create_task(batcher.probabilities(picture(1), model))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, batcher.probabilities(picture(2), model))

    with_batcher(work, max_wait_seconds=0.2)
    assert batches == [[b"1", b"2"]]


def test_large_pictures_do_not_go_together():
    batches = []
    model = predictor(batches)

    async def work(batcher):
        pixels = [600, 400, 1, 5000, 1]
        await asyncio.gather(
            *(batcher.probabilities(picture(n, size), model) for n, size in enumerate(pixels))
        )

    with_batcher(work)
    assert batches == [[b"0", b"1"], [b"2"], [b"3"], [b"4"]]


def test_pictures_for_different_models_do_not_go_together():
    old, new = [], []
    models = [predictor(old), predictor(new)]

    async def work(batcher):
        order = [0, 0, 1, 1, 0]
        await asyncio.gather(
            *(batcher.probabilities(picture(n), models[which]) for n, which in enumerate(order))
        )

    with_batcher(work, max_batch_size=8)
    assert (old, new) == ([[b"0", b"1"], [b"4"]], [[b"2", b"3"]])


@pytest.mark.parametrize(
    ("bad", "error", "status"),
    [
        (b"damaged", UnreadableImageError, 422),
        (b"diverged", RequestError, 500),
        (b"a bug", ValueError, None),
    ],
)
def test_a_picture_that_fails_does_so_alone(bad, error, status):
    model = predictor([])

    async def work(batcher):
        pictures = [picture(1), picture(bad), picture(2)]
        return await asyncio.gather(
            *(batcher.probabilities(one, model) for one in pictures), return_exceptions=True
        )

    one, failed, two = with_batcher(work)
    assert (one.tolist(), two.tolist()) == ([1], [2])
    assert isinstance(failed, error)
    assert getattr(failed, "status", None) == status


def test_what_nobody_waits_for_any_more_is_not_predicted():
    batches, release = [], threading.Event()
    model = predictor(batches, release)

    async def work(batcher):
        tasks = [
            asyncio.create_task(batcher.probabilities(picture(number), model))
            for number in range(3)
        ]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    with_batcher(work, max_batch_size=1)
    assert batches == [[b"0"], [b"2"]]


def test_a_model_that_loses_a_picture_fails_that_one_alone():
    def run(encoded):
        return np.array([[int(one)] for one in encoded if one != b"2"], np.float32)

    async def work(batcher):
        model = Predictor(model=None, run=run)
        return await asyncio.gather(
            *(batcher.probabilities(picture(number), model) for number in (1, 3, 2)),
            return_exceptions=True,
        )

    one, three, two = with_batcher(work)
    assert (one.tolist(), three.tolist()) == ([1], [3])
    assert isinstance(two, ValueError)


class Undecoded:
    """Stands for the decoding processes where what is tested comes behind them."""

    async def load(self, data):
        return Picture(data, 1)


def test_beyond_the_queue_is_told_at_once_and_later_there_is_room():
    batches, release = [], threading.Event()
    model = predictor(batches, release)

    async def work(batcher):
        classifier = Classifier(Undecoded(), batcher, queue_size=3, deadline_seconds=20)
        first = asyncio.create_task(classifier.probabilities([b"1", b"2"], model))
        await asyncio.sleep(0)
        assert classifier.under_way == 2
        with pytest.raises(BusyError):
            await classifier.probabilities([b"3", b"4"], model)
        last = asyncio.create_task(classifier.probabilities([b"5"], model))
        await asyncio.sleep(0)
        assert classifier.under_way == 3
        release.set()
        rows = await first + await last
        assert classifier.under_way == 0
        return [row.tolist() for row in rows]

    assert with_batcher(work) == [[1], [2], [5]]


def test_what_is_not_done_in_time_is_given_up():
    batches, release = [], threading.Event()
    model = predictor(batches, release)

    async def work(batcher):
        classifier = Classifier(Undecoded(), batcher, queue_size=3, deadline_seconds=0.1)
        with pytest.raises(BusyError, match="in time"):
            await classifier.probabilities([b"1", b"2"], model)
        assert classifier.under_way == 0
        release.set()

    with_batcher(work, max_batch_size=1)
    assert batches == [[b"1"]]
