"""What an operator asks about a provider: its heads, and what each client was given of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from securealign.errors import SecurealignError
from securealign.ops.audit import entries
from securealign.protocol.policy.rules import Rules
from securealign.provider.config import ProviderSettings
from securealign.provider.loading import read_heads
from securealign.provider.machines import account_name, owner_of
from securealign.storage.database import Database, Ledger


@dataclass(frozen=True)
class Given:
    """What one client was given of one head, and what its rules leave; no limit of bits is None."""

    head: str
    queries: int
    queries_left: int
    bits: int
    bits_left: int | None


@dataclass(frozen=True)
class ClientRow:
    """A client: when its last session was opened, its sessions that were refused, and what it was given."""

    client: str
    last_seen: str
    refused: int
    given: list[Given] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON can hold it."""
        return asdict(self)


def list_heads(settings: ProviderSettings) -> list[dict[str, Any]]:
    """Return what each head of the file is, and who may ask it; raises `InputError` for one that cannot be read."""
    offered = settings.offered_heads
    rows = []
    for name, head in read_heads(settings).items():
        clients, rules = offered[name].clients, offered[name].rules(settings.policy)
        dimension, classes = head.weight.shape
        rows.append(
            {
                "head": name,
                "space": settings.space_of(offered[name]),
                "classes": classes,
                "dimension": dimension,
                "output": rules.output,
                "max_queries": rules.max_queries,
                "max_answer_bits": rules.max_answer_bits,
                "clients": None if clients is None else list(clients),
                "folder": str(settings.path(offered[name].folder)),
            }
        )
    return rows


def list_clients(settings: ProviderSettings) -> list[ClientRow]:
    """Return the clients that the state folder and the audit log know, by name."""
    state = settings.path(settings.state.folder)
    values: dict[str, float] = {}
    if (state / "sessions.db").exists():
        with closing(Database(state / "sessions.db")) as database:
            values = Ledger(database, "answers").values
    seen, refused = visits(settings.path(settings.audit.file or settings.state.folder / "audit.log"))
    given = budgets(values, {name: head.rules(settings.policy) for name, head in settings.offered_heads.items()})
    return [
        ClientRow(client, seen.get(client, ""), refused.get(client, 0), given.get(client, []))
        for client in sorted({*seen, *given})
    ]


def budgets(charged: Mapping[str, float], rules: Mapping[str, Rules]) -> dict[str, list[Given]]:
    """Return by client what was charged by head, and what the rules of the heads leave; other heads leave nothing."""
    found: dict[str, list[Given]] = {}
    for head, client in sorted(owner_of(key.removesuffix("/queries")) for key in charged if key.endswith("/queries")):
        account = account_name(head, client)
        queries, bits = int(charged[f"{account}/queries"]), int(charged.get(f"{account}/bits", 0))
        limits = rules[head].query_limits if head in rules else None
        queries_left = max(0, limits.queries - queries) if limits is not None else 0
        bits_left = max(0, limits.bits - bits) if limits is not None and limits.bits is not None else None
        found.setdefault(client, []).append(Given(head, queries, queries_left, bits, bits_left))
    return found


def visits(log: Path, *, before: str = "") -> tuple[dict[str, str], dict[str, int]]:
    """Return from an audit log, by client, the time of its last session and the number of streams refused.

    `before` is the time at which reading ends, as the log writes it; "" reads all.
    """
    seen: dict[str, str] = {}
    refused: dict[str, int] = {}
    for entry in _readable(log):
        if before and entry.time >= before:
            break
        client = str(entry.fields.get("identity") or "")
        if client and entry.event in {"session opened", "session resumed"}:
            seen[client] = str(entry.time)
        if client and entry.event == "stream refused":
            refused[client] = refused.get(client, 0) + 1
    return seen, refused


def _readable(log: Path) -> Iterable[Any]:
    """Yield the entries of an audit log up to where it is broken; 'securealign audit verify' says what is wrong."""
    if not log.exists():
        return
    try:
        yield from entries(log)
    except SecurealignError:
        return
