"""What a server counts of its work, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Counted:
    """One server's numbers; nothing in them tells what was asked, or by whom."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("cutler_requests", "Requests by path and status.", ["path", "status"],
                                registry=self.registry)  # fmt: skip
        self.seconds = Histogram("cutler_request_seconds", "From the request's head to the end of its answer.",
                                 ["path"], buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.rows = Histogram("cutler_batch_texts", "Texts that were answered together.", ["model"], buckets=ROWS,
                              registry=self.registry)  # fmt: skip
        self.batches = Histogram("cutler_batch_seconds", "Time that a batch took in the model.", ["model"],
                                 buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.waiting = Gauge("cutler_queue_texts", "Texts that wait or are being answered.", ["model"],
                             registry=self.registry)  # fmt: skip
        self.broken = Gauge("cutler_limits_broken", "Limits of the model that it breaks on this machine.", ["model"],
                            registry=self.registry)  # fmt: skip

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; its path as the server knows it, not as it was sent."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def batch(self, model: str) -> Callable[[int, float], None]:
        """What counts the batches of a model."""
        rows, seconds = self.rows.labels(model), self.batches.labels(model)

        def seen(count: int, taken: float) -> None:
            rows.observe(count)
            seconds.observe(taken)

        return seen

    def text(self) -> bytes:
        """All numbers, in the text format of Prometheus."""
        return generate_latest(self.registry)
