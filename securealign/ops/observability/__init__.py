"""What an operator sees of a running provider: health, metrics, and the shape of the service."""

from securealign.ops.observability.endpoint import SERVICES, HealthSwitch, MetricsEndpoint, add_health, add_reflection
from securealign.ops.observability.metrics import Metrics
from securealign.ops.observability.recorder import Recorder, watch_certificates, watched_queries, watched_rank

__all__ = [
    "SERVICES",
    "HealthSwitch",
    "Metrics",
    "MetricsEndpoint",
    "Recorder",
    "add_health",
    "add_reflection",
    "watch_certificates",
    "watched_queries",
    "watched_rank",
]
