"""What the server counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server.

    Args:
        queue_length: gives how many pictures are under way.
    """

    def __init__(self, queue_length: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "requests", "Requests that were answered.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "request_seconds",
            "From the head of a request to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "batch_size",
            "Pictures that were predicted together.",
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self._version = Gauge(
            "model_version", "Version of the model that is served.", registry=registry
        )
        queue = Gauge("queue_length", "Pictures that wait or are worked on.", registry=registry)
        queue.set_function(queue_length)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request; status 0 is a client that went away without an answer."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_batch(self, size: int) -> None:
        """Counts a batch."""
        self._batch_size.observe(size)

    def set_version(self, version: int) -> None:
        """Notes which version of the model is served."""
        self._version.set(version)

    def text(self) -> bytes:
        """All of it, in Prometheus's format."""
        return generate_latest(self._registry)
