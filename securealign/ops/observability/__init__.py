"""What an operator sees of a running provider: health, metrics, and the shape of the service."""

from securealign.ops.observability.accounts import watched_queries, watched_rank
from securealign.ops.observability.endpoint import MetricsEndpoint
from securealign.ops.observability.expiry import watch_certificates
from securealign.ops.observability.health import SERVICES, HealthSwitch, add_health, add_reflection
from securealign.ops.observability.metrics import Metrics
from securealign.ops.observability.recorder import Recorder

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
