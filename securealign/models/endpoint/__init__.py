"""Encoders behind OpenAI-compatible embedding endpoints: the vendor of the endpoint sees every text."""

from securealign.models.endpoint.encoder import EndpointEncoder, check_likeness, likeness_of, usage_of
from securealign.models.endpoint.service import Endpoint, check_reachable

__all__ = ["Endpoint", "EndpointEncoder", "check_likeness", "check_reachable", "likeness_of", "usage_of"]
