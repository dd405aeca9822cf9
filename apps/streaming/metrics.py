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
REFUSED_PUBLICATIONS = Counter(
    "sharewise_publications_refused", "Publications that the broker did not take, or dropped.", registry=REGISTRY
)
RECONNECTED = Counter("sharewise_broker_reconnects", "Lost connections to the broker's server.", registry=REGISTRY)
REPAIRED = Counter("sharewise_gaps_repaired", "Topics read from history after a loss.", registry=REGISTRY)
LOST = Counter("sharewise_positions_lost", "Topics whose clients had to start anew.", registry=REGISTRY)
DEGRADED = Gauge("sharewise_broker_degraded_seconds", "How long the broker's server is away.", registry=REGISTRY)
QUEUED = Gauge("sharewise_broker_queued", "Publications that wait for the broker's server.", registry=REGISTRY)
OUTBOX_WAITING = Gauge("sharewise_outbox_waiting", "Publications in the transactional outbox.", registry=REGISTRY)
OUTBOX_LAG = Gauge("sharewise_outbox_lag_seconds", "How long the oldest of them has waited.", registry=REGISTRY)
ENGINES = Gauge("sharewise_engines_active", "1 in the process whose engines act.", registry=REGISTRY)
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

    def refused(self, publications: int) -> None:
        REFUSED_PUBLICATIONS.inc(publications)

    def broker_reconnected(self) -> None:
        RECONNECTED.inc()

    def gap_repaired(self) -> None:
        REPAIRED.inc()

    def position_lost(self) -> None:
        LOST.inc()


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
