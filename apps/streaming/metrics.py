"""The counters of `realtime`, as Prometheus metrics at `/metrics/`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from realtime.close import CLOSE_CODES

REGISTRY = CollectorRegistry()

PUBLISHED = Counter("sharewise_publications", "Publications accepted by the broker.", registry=REGISTRY)
DELIVERED = Counter("sharewise_deliveries", "Publications handed to connections.", registry=REGISTRY)
DELIVERED_BYTES = Counter("sharewise_delivered_bytes", "Payload bytes handed to connections.", registry=REGISTRY)
CONNECTIONS = Gauge("sharewise_connections", "Open connections.", ["stream"], registry=REGISTRY)
CLOSED = Counter("sharewise_connections_closed", "Connections that ended.", ["stream", "code"], registry=REGISTRY)
DURATION = Histogram(
    "sharewise_connection_seconds",
    "How long connections lasted.",
    ["stream"],
    buckets=(1, 10, 60, 600, 3_600, 14_400, 86_400),
    registry=REGISTRY,
)
COMMANDS = Counter("sharewise_commands", "Messages received from clients.", ["stream"], registry=REGISTRY)
REFUSED = Counter("sharewise_commands_refused", "Errors sent to clients.", ["stream", "error_code"], registry=REGISTRY)
RESUMED = Counter("sharewise_resumes", "Topics resumed with `since`.", ["recovered"], registry=REGISTRY)
REJECTED = Counter("sharewise_rejected_connections", "Connections refused while opening.", ["code"], registry=REGISTRY)


# A client may close with any code it likes: each would be a series of its own, for ever.
_KNOWN_CODES = {close.code for close in CLOSE_CODES} | {1000, 1001, 1005, 1006}


class PrometheusMetrics:
    """Implements `realtime.metrics.Metrics`."""

    def published(self, publications: int) -> None:
        PUBLISHED.inc(publications)

    def delivered(self, deliveries: int, payload_bytes: int) -> None:
        DELIVERED.inc(deliveries)
        DELIVERED_BYTES.inc(payload_bytes)

    def connection_opened(self, stream: str) -> None:
        CONNECTIONS.labels(stream).inc()

    def connection_closed(self, stream: str, code: int, duration_seconds: float) -> None:
        CONNECTIONS.labels(stream).dec()
        CLOSED.labels(stream, str(code) if code in _KNOWN_CODES else "other").inc()
        DURATION.labels(stream).observe(duration_seconds)

    def command_received(self, stream: str) -> None:
        COMMANDS.labels(stream).inc()

    def command_refused(self, stream: str, error_code: str) -> None:
        REFUSED.labels(stream, error_code).inc()

    def resumed(self, recovered: bool) -> None:
        RESUMED.labels(str(recovered).lower()).inc()


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def connection_counts() -> dict[str, int]:
    """Open connections per stream, in this process."""
    return {
        sample.labels["stream"]: int(sample.value)
        for metric in CONNECTIONS.collect()
        for sample in metric.samples
        if sample.value
    }
