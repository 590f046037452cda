"""The server as a whole: from a model and a port to its end by a signal."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import uvicorn
from absl import logging

from core import process
from core.errors import FlagError
from inference.predictor import Predictor
from inference.server import addresses, models
from inference.server.app import Service, create_app
from inference.server.batching import Batcher
from inference.server.bodies import Bodies
from inference.server.classifying import Classifier
from inference.server.connections import Connections
from inference.server.decoding import DecodingPool
from inference.server.metrics import Metrics
from inference.server.models import Models

_BODIES = 32  # uploads of the largest size whose memory may be in use at a time
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FILES_BESIDE = 256  # open files that are no connections

Report = Callable[[str], None]


def run(config: Any, bound: socket.socket, report: Report) -> None:
    """Serves a model until SIGINT or SIGTERM.

    What waits to be answered then is answered, for config.drain_secs at most. The signal is passed
    on to the handler that was set before; one more ends the process at once.

    Args:
        config: the flags of serve_image_classifier.py.
        bound: what `addresses.bound_socket` gave.
        report: is told, once the server can be reached, where it is and what it serves.

    Raises:
        FlagError: --max_image_pixels leaves no room for what the model takes.
        CheckpointError: there is no usable model.
        DivergedError: the model's outputs are not finite.
        MachineError: the address is in use, or no pictures can be decoded.
    """
    version = models.newest(config.checkpoint_path)
    # As it was given: of a run directory, the checkpoint before one that is damaged will do.
    predictor = models.opened(config.checkpoint_path)
    if predictor.model.image_size**2 > config.max_image_pixels:
        raise FlagError(
            f"--max_image_pixels={config.max_image_pixels} is less than the "
            f"{predictor.model.image_size}x{predictor.model.image_size} that the model takes",
            remedy="raise it",
        )
    _allow_files(2 * config.max_connections + _FILES_BESIDE)
    stopping = threading.Event()
    with _stopped_by_signal(stopping):
        asyncio.run(_serve(config, version, predictor, bound, report, stopping))


class Server(uvicorn.Server):
    """uvicorn's server with our connections and limits.

    Args:
        parts: what the application works with.
        connections: all of its connections.
        drain_seconds: how long requests under way are waited for when it is to end.
        stopping: is set when it is to end.
        on_listening: is called once it can be reached.
    """

    def __init__(
        self,
        parts: Service,
        connections: Connections,
        drain_seconds: int,
        stopping: threading.Event,
        on_listening: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            create_app(parts, is_stopping=stopping.is_set),
            http=connections.protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # what it would say is in our answers and metrics
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=drain_seconds,
        )
        super().__init__(config)
        self._stopping = stopping
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen; MachineError if another process has begun to at the same address."""
        (bound,) = sockets
        try:
            await super().startup(sockets)
        except OSError as error:
            raise addresses.failure(*bound.getsockname()[:2], error) from None
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is to end; asked ten times a second."""
        return self._stopping.is_set() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops to listen, and lets what is connected by then end.

        Connections that wait to be accepted are taken, too: closing the socket would reset them.
        """
        (bound,) = sockets
        late = list(_waiting(bound))
        for listener in self.servers:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in late:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state={}
        )

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        """Leaves signals to `run`; uvicorn would raise them again before all is closed."""
        return contextlib.nullcontext()


def _waiting(bound: socket.socket) -> Iterator[socket.socket]:
    """Accepts the connections that wait at a socket, without waiting for more."""
    while True:
        try:
            yield bound.accept()[0]
        except OSError:  # there are no more, or the client has gone
            return


@contextlib.contextmanager
def _stopped_by_signal(stopping: threading.Event) -> Iterator[None]:
    """Sets the event at a signal, and raises that again when the block has ended.

    One more signal ends the process without a word.
    """
    came: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        came.append(number)
        stopping.set()

    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


async def _serve(
    config: Any,
    version: models.Version,
    predictor: Predictor,
    bound: socket.socket,
    report: Report,
    stopping: threading.Event,
) -> None:
    async with service(config, version, predictor) as parts:
        with parts.models.lease() as leased:  # a picture goes the way of uploads
            await parts.classifier.probabilities([models.blank(leased.model)], leased)
        # What is there by now stays: to look for garbage in all of TensorFlow every now and then
        # would hold up all requests for half a second.
        gc.collect()
        gc.freeze()
        server = Server(
            parts,
            Connections(config.max_connections),
            config.drain_secs,
            stopping,
            on_listening=lambda: report(_description(parts, bound)),
        )
        await server.serve([bound])


@contextlib.asynccontextmanager
async def service(
    config: Any, version: models.Version, predictor: Predictor
) -> AsyncIterator[Service]:
    """Everything that works beside the connections, until the block ends."""
    max_image_bytes = int(config.max_image_mb * 1e6)
    metrics = Metrics(queue_length=lambda: classifier.under_way)
    thread = ThreadPoolExecutor(1, "predictor")
    served = Models(
        config.checkpoint_path,
        version,
        predictor,
        thread,
        observe=lambda model: metrics.set_version(model.version),
    )
    batcher = Batcher(
        thread,
        config.max_batch_size,
        config.max_image_pixels,
        config.max_wait_ms / 1000,
        observe=metrics.observe_batch,
    )
    decoding = DecodingPool(config.decoding_processes, config.max_image_pixels)
    with thread, contextlib.closing(served):
        async with decoding, batcher:
            classifier = Classifier(
                decoding, batcher, config.queue_size, config.request_deadline_secs
            )
            watching = asyncio.create_task(_watch(served, config.reload_secs))
            try:
                yield Service(
                    name=config.name,
                    models=served,
                    classifier=classifier,
                    bodies=Bodies(_BODIES * max_image_bytes),
                    metrics=metrics,
                    max_image_bytes=max_image_bytes,
                    max_image_pixels=config.max_image_pixels,
                )
            finally:
                watching.cancel()


async def _watch(served: Models, seconds: float) -> None:
    if seconds:
        await served.keep_newest(seconds)


def _description(parts: Service, bound: socket.socket) -> str:
    """Where the server is, what it serves, and what that took."""
    model = parts.models.model
    url = addresses.url(bound)
    count = len(model.class_names)
    return (
        f"{url}\n"
        f"  model     {parts.name}, version {model.version}: {model.model_name}, "
        f"{model.image_size} pixels, {count} classes\n"
        f"  page      {url}/\n"
        f"  API       {url}/openapi.json\n"
        f"  ready in  {process.cold_start()}"
    )


def _allow_files(count: int) -> None:
    """Lets the process have so many files open, as far as it may decide that itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count:
        logging.warning("only %d files may be open; --max_connections may not be reached", wanted)
