"""Accounts that the sessions of one peer share, in a mapping that may outlive the process."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar


@dataclass(frozen=True)
class Account:
    """What one peer was charged: the entries of `store` under `name`, behind a lock."""

    store: MutableMapping[str, float]
    name: str
    lock: AbstractContextManager[object]


A = TypeVar("A", bound=Account)


class Ledger(Generic[A]):
    """The accounts of all peers; sessions in threads need a lock.

    Sessions that a crash interrupts stay charged: an error counts against the peer.
    """

    account_type: type[A]

    def __init__(
        self, store: MutableMapping[str, float] | None = None, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self._store = {} if store is None else store
        self._lock = lock or nullcontext()

    def account(self, peer: str, dataset_digest: bytes = b"") -> A:
        """Return the account of an authenticated peer, over the public texts with this digest if one is given."""
        name = f"{dataset_digest.hex()}/{peer}" if dataset_digest else peer
        return self.account_type(self._store, name, self._lock)
