"""Accounts that the sessions of one peer share, in a mapping that may outlive the process."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

A = TypeVar("A", bound="Account")


@dataclass(frozen=True)
class Account:
    """What one peer was charged: the entries of `store` under `name`, behind a lock.

    Sessions that a crash interrupts stay charged: an error counts against the peer.
    """

    store: MutableMapping[str, float]
    name: str
    lock: AbstractContextManager[object]

    @classmethod
    def of(
        cls: type[A],
        peer: str,
        dataset_digest: bytes = b"",
        *,
        store: MutableMapping[str, float] | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> A:
        """Return the account of an authenticated peer, over the public texts with this digest if one is given.

        `store` holds the accounts of all peers; sessions in threads need a lock.
        """
        name = f"{dataset_digest.hex()}/{peer}" if dataset_digest else peer
        return cls({} if store is None else store, name, nullcontext() if lock is None else lock)


@dataclass(frozen=True)
class SharedRows:
    """Another data set of N `rows` texts; bit r of `common` is set where it holds row r of the one now served."""

    digest: bytes
    rows: int
    common: int


@dataclass(frozen=True)
class RowsAccount(Account):
    """What one peer was charged over one public data set, and over `related` ones, which share rows with it."""

    related: tuple[SharedRows, ...] = field(default=(), kw_only=True)

    def name_over(self, other: SharedRows) -> str:
        """Return the name of the same peer's account over another data set."""
        return f"{other.digest.hex()}/{self.name.partition('/')[2]}"
