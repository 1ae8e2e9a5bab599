"""The state of a provider as its page shows it: names, numbers and digests; no heads, embeddings, texts or keys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeadState:
    """A head: its space, what it answers ("logits", "label" or "label_confidence"), and the queries of all clients.

    `clients` are those who may ask it, None stands for all; the digest is in hexadecimal.
    """

    name: str
    space: str
    output: str
    classes: int
    dimension: int
    digest: str
    queries: int
    clients: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class SpaceState:
    """A space: its identifier and the digest of its public texts in hexadecimal; no texts are None."""

    name: str
    identifier: str
    dimension: int
    rows: int | None
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class BudgetState:
    """What a client was given of a head and what is left of it; both None for a head that is not offered any more.

    `bits_left` is None without a limit of bits, too.
    """

    head: str
    queries: int
    queries_left: int | None
    bits: int
    bits_left: int | None


@dataclass(frozen=True, kw_only=True)
class ClientState:
    """A client: when its last session was opened (Unix seconds), its refused streams, its budgets by head."""

    name: str
    seen: float | None
    refused: int
    budgets: tuple[BudgetState, ...]


@dataclass(frozen=True, kw_only=True)
class ProviderState:
    """What the page shows.

    `certificates` and `refusals` hold pairs: a file and when it expires (Unix seconds), a rule and a count.
    """

    address: str
    ready: bool
    started: float
    suites: tuple[str, ...]
    sessions_open: int
    sessions_kept: int
    queries: int
    heads: tuple[HeadState, ...]
    spaces: tuple[SpaceState, ...]
    clients: tuple[ClientState, ...]
    refusals: tuple[tuple[str, int], ...]
    certificates: tuple[tuple[str, float], ...]
