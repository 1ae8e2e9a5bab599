"""What an operator sees of a running provider: health, metrics, and the shape of the service."""

from securealign.observability.accounts import watched_queries, watched_rank
from securealign.observability.endpoint import MetricsEndpoint
from securealign.observability.expiry import watch_certificates
from securealign.observability.health import SERVICES, HealthSwitch, add_health
from securealign.observability.metrics import Metrics
from securealign.observability.recorder import Recorder
from securealign.observability.reflection import add_reflection

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
