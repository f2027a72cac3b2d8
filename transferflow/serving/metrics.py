"""What the server measures of itself, in Prometheus' format."""

from __future__ import annotations

from transferflow.errors import MissingDependencyError


def require_packages() -> None:
    """See that what serving needs is installed.

    Raises:
        MissingDependencyError: If it is not.
    """
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401 - FastAPI reads uploads with it
    except ImportError as error:
        raise MissingDependencyError(
            "serving needs packages that are not installed", hint="pip install 'transferflow[serve]'"
        ) from error


class ServerMetrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise MissingDependencyError(
                "serving needs packages that are not installed", hint="pip install 'transferflow[serve]'"
            ) from error
        self.registry = CollectorRegistry()
        prefix = "transferflow_"
        self._requests = Counter(
            f"{prefix}requests", "Requests.", ["method", "path", "status"], registry=self.registry
        )
        self._seconds = Histogram(f"{prefix}request_seconds", "Time of a request.", registry=self.registry)
        self._batch = Histogram(
            f"{prefix}batch_images",
            "Images that were answered at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._reloads = Counter(
            f"{prefix}reloads", "Times that another model was loaded.", registry=self.registry
        )
        self._waiting = Gauge(f"{prefix}waiting_images", "Images that wait.", registry=self.registry)
        self._model = Gauge(
            f"{prefix}model", "The model that is served.", ["identity"], registry=self.registry
        )

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.observe(seconds)

    def batch(self, images: int) -> None:
        """Note a batch that was answered."""
        self._batch.observe(images)

    def reload(self) -> None:
        """Note that another model was loaded."""
        self._reloads.inc()

    def text(self, waiting: int, identity: str) -> bytes:
        """Everything, in Prometheus' text format."""
        from prometheus_client import generate_latest

        self._waiting.set(waiting)
        self._model.clear()
        self._model.labels(identity).set(1)
        return generate_latest(self.registry)
