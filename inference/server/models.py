"""Which model is served, and how a newer one takes its place while requests go on."""

import asyncio
import contextlib
import dataclasses
import gc
import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import PIL.Image
from absl import logging

from core.errors import CheckpointError, ClassifierError
from core.script import classified
from inference import predictor as predictors
from inference.predictor import Model, Predictor

_LONGEST_RETRY_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Version:
    """A model on disk, and when it was written: what is there now may be there no more later."""

    path: str
    written: tuple[int, int]  # modification time, ns, and number of the file


def newest(path: str) -> Version:
    """The version that a path means now; CheckpointError if there is none."""
    concrete = predictors.newest(path)
    file = Path(concrete)
    try:
        status = os.stat(file if file.exists() else f"{concrete}.index")
    except OSError:
        raise CheckpointError("the model is gone", where=concrete) from None
    return Version(concrete, (status.st_mtime_ns, status.st_ino))


def opened(path: str) -> Predictor:
    """Opens a model, and predicts a picture with it, which also readies it for the first request.

    Raises:
        CheckpointError: there is no usable model.
        DivergedError: its outputs are not finite.
    """
    predictor = predictors.open_model(path)
    try:
        probabilities = predictor.probabilities([blank(predictor.model)])
        expected = (1, len(predictor.model.class_names))
        if probabilities.shape != expected:
            raise CheckpointError(
                f"its outputs have the shape {probabilities.shape}, not {expected}",
                where=path,
            )
    except BaseException:
        predictor.close()
        raise
    return predictor


def blank(model: Model) -> bytes:
    """A PNG file of the size that a model takes."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (model.image_size, model.image_size)).save(buffer, "PNG")
    return buffer.getvalue()


class _Served:
    """An open model, and how many requests use it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.requests = 0
        self.is_replaced = False


class Models:
    """The model that is served.

    All methods belong to the thread of the event loop.

    Args:
        path: a run directory, a checkpoint, an export, or a directory of numbered exports.
        version: what of it is open.
        predictor: that, open. It is closed here.
        thread: in which it predicts. It is closed there, too: a request that was given up may have
            left a batch at work.
        observe: is told each model that is served from now on.
    """

    def __init__(
        self,
        path: str,
        version: Version,
        predictor: Predictor,
        thread: Executor,
        observe: Callable[[Model], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._version = version
        self._served = _Served(predictor)
        self._thread = thread
        self._observe = observe
        self.reload_error: str | None = None  # why the newest version is not the one served
        self._failed: Version | None = None
        self._failures, self._retry_at = 0, 0.0
        observe(predictor.model)

    @property
    def model(self) -> Model:
        """The model that new requests are answered by."""
        return self._served.predictor.model

    @contextlib.contextmanager
    def lease(self) -> Iterator[Predictor]:
        """The current model's predictor, which stays open until the block ends."""
        served = self._served
        served.requests += 1
        try:
            yield served.predictor
        finally:
            served.requests -= 1
            self._close_if_unused(served)

    def close(self) -> None:
        """Closes the model when its last request ends, or now."""
        self._served.is_replaced = True
        self._close_if_unused(self._served)

    async def keep_newest(self, seconds: float) -> None:
        """Looks for a newer version so often, for ever, and serves it if it can be used."""
        while True:
            await asyncio.sleep(seconds)
            await self.reload(retry_seconds=seconds)

    async def reload(self, retry_seconds: float = 0.0) -> None:
        """Serves the newest version, unless it is served already or cannot be used.

        Args:
            retry_seconds: one that could not be used is not tried again for so long, then twice as
                long, and so on.
        """
        version = None
        try:
            version = await asyncio.to_thread(newest, self._path)
            if version == self._version:
                self._succeeded()
                return
            if version == self._failed and time.monotonic() < self._retry_at:
                return
            predictor = await asyncio.to_thread(opened, version.path)
            try:
                self._check_classes(predictor.model)
            except ClassifierError:
                predictor.close()
                raise
        except Exception as error:
            self._fail(error, version, retry_seconds)
            return
        self._version = version
        replaced, self._served = self._served, _Served(predictor)
        replaced.is_replaced = True
        self._close_if_unused(replaced)
        self._succeeded()
        self._observe(predictor.model)
        logging.info("now serving %s", version.path)

    def _check_classes(self, model: Model) -> None:
        if model.class_names != self.model.class_names:
            raise CheckpointError(
                "its classes are not those of the model that is served",
                where=model.source,
                remedy="start the server again to serve it",
            )

    def _succeeded(self) -> None:
        self.reload_error, self._failed, self._failures = None, None, 0

    def _fail(self, error: Exception, version: Version | None, retry_seconds: float) -> None:
        known = classified(error)
        # Where it is, is for the log alone.
        what = known.what if known else "unexpected error"
        self._failures = self._failures + 1 if version == self._failed else 1
        if what != self.reload_error:
            logging.error("cannot serve the newest model: %s", error)
        self.reload_error, self._failed = what, version
        pause = retry_seconds * 2.0**self._failures
        self._retry_at = time.monotonic() + min(pause, _LONGEST_RETRY_SECONDS)

    def _close_if_unused(self, served: _Served) -> None:
        if served.is_replaced and not served.requests:
            self._thread.submit(served.predictor.close)
            self._thread.submit(gc.collect)  # a graph is full of circles
