"""Pictures of several requests are predicted together, one batch after the other."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from core.errors import DataError, DivergedError
from inference.predictor import Predictor
from inference.server.decoding import Picture
from inference.server.errors import RequestError, UnreadableImageError


@dataclasses.dataclass(frozen=True)
class _Job:
    picture: Picture
    predictor: Predictor
    outcome: asyncio.Future  # the probabilities, or what went wrong


class Batcher:
    """Gathers pictures for a few milliseconds, and runs the model in a thread.

    How many wait is not bounded here but where requests are let in (`classifying`).

    Args:
        thread: what predicts; of one thread, since a model uses all cores by itself.
        max_batch_size: pictures that are predicted together, at most.
        max_pixels: what these may have in sum, which bounds the memory that they take decoded; a
            larger picture is predicted alone.
        max_wait_seconds: how long the first of them waits for others.
        observe: is told the size of each batch.
    """

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        max_batch_size: int,
        max_pixels: int,
        max_wait_seconds: float,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._thread = thread
        self._max_batch_size = max_batch_size
        self._max_pixels = max_pixels
        self._max_wait_seconds = max_wait_seconds
        self._observe = observe
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> "Batcher":
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def probabilities(self, picture: Picture, predictor: Predictor) -> np.ndarray:
        """The probabilities of a picture's classes, float32 [C].

        Raises:
            RequestError: TensorFlow cannot read the picture, or the model outputs NaN or Inf.
        """
        outcome = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(picture, predictor, outcome))
        self._arrived.set()
        return await outcome

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if len(self._jobs) < self._max_batch_size:
                await asyncio.sleep(self._max_wait_seconds)
            batch = self._next_batch()
            if not self._jobs:
                self._arrived.clear()
            if batch:
                self._observe(len(batch))
                await self._predict(batch)

    def _next_batch(self) -> list[_Job]:
        """The jobs that are to be done now: all by one model, and within the limits."""
        batch: list[_Job] = []
        pixels = 0
        while self._jobs and len(batch) < self._max_batch_size:
            job = self._jobs[0]
            pixels += job.picture.pixels
            if batch and (job.predictor is not batch[0].predictor or pixels > self._max_pixels):
                break
            self._jobs.popleft()
            if not job.outcome.done():  # else nobody waits for it any more
                batch.append(job)
        return batch

    async def _predict(self, batch: list[_Job]) -> None:
        """Settles the outcomes of a batch; if it fails, each of its pictures on its own."""
        encoded = [job.picture.encoded for job in batch]
        predict = batch[0].predictor.probabilities
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, predict, encoded)
            for job, row in zip(batch, found, strict=True):
                if not job.outcome.done():
                    job.outcome.set_result(row)
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    await self._predict([job])
            elif not batch[0].outcome.done():
                batch[0].outcome.set_exception(_told(error))


def _told(error: Exception) -> Exception:
    """What a client is told of an error of the predictor; one that is a bug stays what it is."""
    if isinstance(error, DataError):
        return UnreadableImageError("The image cannot be read: TensorFlow does not decode it.")
    if isinstance(error, DivergedError):
        return RequestError("bad_output", "The model's output for this image is not a number.")
    return error
