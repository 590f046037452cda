"""The way of pictures through the server: let in, decoded, classified in batches."""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from inference.predictor import Predictor
from inference.server.batching import Batcher
from inference.server.decoding import DecodingPool
from inference.server.errors import BusyError, RequestError

Result = TypeVar("Result")


class Classifier:
    """Classifies uploads, of which a bounded number is under way at a time.

    Args:
        decoding: decodes them.
        batcher: predicts them.
        queue_size: pictures that may wait or be worked on at a time.
        deadline_seconds: how long a request may take from here on.
    """

    def __init__(
        self, decoding: DecodingPool, batcher: Batcher, queue_size: int, deadline_seconds: float
    ) -> None:
        self._decoding = decoding
        self._batcher = batcher
        self.queue_size = queue_size
        self._deadline_seconds = deadline_seconds
        self.under_way = 0  # pictures

    async def probabilities(
        self, uploads: Sequence[bytes], predictor: Predictor
    ) -> list[np.ndarray]:
        """The probabilities of each upload's classes, float32 [C] each.

        Args:
            uploads: image files as they came.
            predictor: of the model to use, which has to stay open.

        Raises:
            BusyError: the queue is full, or the answer is not there in time.
            RequestError: one of the files is no image that can be used.
        """
        with self._places(len(uploads)):
            work = _all([self._one(upload, predictor) for upload in uploads])
            try:
                return await asyncio.wait_for(work, self._deadline_seconds)
            except asyncio.TimeoutError:
                raise BusyError("The server is too busy to answer in time.") from None

    async def _one(self, upload: bytes, predictor: Predictor) -> np.ndarray:
        picture = await self._decoding.load(upload)
        return await self._batcher.probabilities(picture, predictor)

    @contextlib.contextmanager
    def _places(self, count: int) -> Iterator[None]:
        if count > self.queue_size:
            raise RequestError(
                "bad_request", f"A request may hold at most {self.queue_size} images."
            )
        if self.under_way + count > self.queue_size:
            raise BusyError("The server is busy with other images.")
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count


async def _all(work: Sequence[Awaitable[Result]]) -> list[Result]:
    """Awaits all at once; when one fails, the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
