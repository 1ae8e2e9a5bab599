"""How much of the provider's public embeddings all sessions of one peer can have shown together.

A training session shows Z_A^T M for an M (N, d_B + 1) that only the client sees: up to d_B + 1 linear combinations of
the rows of Z_A, or that many rows themselves if M is one-hot. Sessions add up, and N independent columns are all of
Z_A. What M holds is encrypted, so the ledger counts the rank that a session can have: all its columns.

What it does not do: one session still shows d_B + 1 combinations, a part (d_B + 1) / N of the row space of Z_A. A peer
that aligns the same encoder again learns nothing new and is charged all the same. Rows of similar texts tell of each
other, so what is unseen is not unknown. Peers that share results, and public texts that two data sets have in common,
are counted apart. A client that forges its key learns more than a product, which no count of columns covers.
"""

from __future__ import annotations

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.policy.accounts import Account


class RankAccount(Account):
    """The columns granted to one peer over one public data set."""

    def charge(self, columns: int, limit: int) -> None:
        """Count the columns of a session; raises `RemoteProtocolError`, and counts nothing, beyond `limit` in all."""
        with self.lock:
            granted = int(self.store.get(self.name, 0))
            if granted + columns > limit:
                raise RemoteProtocolError(
                    f"The session asks for {columns} columns of the cross-covariance, and its peer was granted "
                    f"{granted} before; max_rank_fraction allows {limit} in all over these public texts.",
                    hint="Agree on more or on new public texts, or raise max_rank_fraction.",
                    code=ErrorCode.RANK_BUDGET_EXHAUSTED,
                )
            self.store[self.name] = granted + columns

    def refund(self, columns: int) -> None:
        """Take back the columns of a session that ended before anything was computed from its rows."""
        with self.lock:
            self.store[self.name] = self.store.get(self.name, 0) - columns
