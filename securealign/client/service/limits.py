"""What one request, and all of them together, may cost the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """Limits of sizes in bytes, characters and counts, and of times in seconds."""

    max_texts: int = 1024
    max_characters: int = 100_000
    max_body: int = 4 * 2**20
    #: Requests under way, and connections, of which some are idle.
    max_requests: int = 128
    max_connections: int = 512
    #: Heads with an open client.
    max_heads: int = 16
    #: For the head of a request, from the connection or its first byte on; for all of its body.
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    #: For which an idle connection is kept, and for which a response may wait to be read.
    idle_seconds: float = 30.0
    #: For an answer, the provider's part included.
    answer_seconds: float = 120.0
    #: For requests under way when the service is stopped, and then for the end of its sessions.
    grace_seconds: float = 30.0
    close_seconds: float = 35.0
