"""Accounts that tell the metrics what a session is charged and what its peer has left."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.ops.observability.metrics import Metrics
from securealign.protocol.policy.budget import QueryAccount, QueryLimits
from securealign.protocol.policy.rank import RankAccount


def watched_queries(account: QueryAccount, identity: str, metrics: Metrics) -> QueryAccount:
    """Return the account, which shows queries and bits left to an identity from now on."""
    return _Queries(account.store, account.name, account.lock, identity, metrics)


def watched_rank(account: RankAccount, identity: str, metrics: Metrics) -> RankAccount:
    """Return the account, which shows what an identity may still be charged from now on."""
    return _Rank(account.store, account.name, account.lock, identity, metrics, related=account.related)


@dataclass(frozen=True)
class _Queries(QueryAccount):
    identity: str
    metrics: Metrics

    def left(self, answer_bits: int, limits: QueryLimits) -> int:
        self._show(limits)
        return super().left(answer_bits, limits)

    def charge(self, queries: int, answer_bits: int, limits: QueryLimits) -> None:
        super().charge(queries, answer_bits, limits)
        self.metrics.queries_debited(queries)
        self._show(limits)

    def _show(self, limits: QueryLimits) -> None:
        bits = None if limits.bits is None else limits.bits - self.bits
        self.metrics.show_left(self.identity, queries=limits.queries - self.queries, bits=bits)


@dataclass(frozen=True)
class _Rank(RankAccount):
    identity: str
    metrics: Metrics

    def charge(self, columns: int, rows: int, fraction: float) -> int:
        left = super().charge(columns, rows, fraction)
        self.metrics.show_left(self.identity, rank=left)
        return left
