"""How much of the provider's public embeddings all sessions of one peer can have shown together.

A training session shows Z_A^T M for an M (N, d_B + 1) that only the client sees: up to d_B + 1 linear combinations of
the rows of Z_A, or that many rows themselves if M is one-hot. Sessions add up, and N independent columns are all of
Z_A. What M holds is encrypted, so the ledger counts what a session can show, whatever M is.

A column can show more than one row: rows lie side by side at different scales, like digits of one number. Under `lwe`
an entry of the product holds at most 18 bits, log2 of the modulus over the width of the flood, 2^80 / 2^62. An entry of
Z_A is a number of 100,000 / sqrt(N) units or half of that (`OPERAND_NORM`, scaled by powers of two). As a Gaussian
number of half that deviation it holds log2(sqrt(2 pi e) 50,000 / sqrt(N)) = log2(2.07e5 / sqrt(N)) bits. So a column is
charged as one combination and as the rows that 18 bits can hold.

An account belongs to rows. What a peer was charged over another data set counts for the rows that both have in common.
Honest results over two data sets differ by what the added rows contribute, so these must be as many as was charged.

What it does not do: a peer that aligns the same encoder again learns nothing new and is charged all the same. Rows of
similar texts tell of each other, so what is unseen is not unknown. Peers that share results are counted apart. Under
`lwe` a client that forges its key reads something else than a product, of at most the same 18 bits for each entry, so
the charge covers it as far as the estimate of docs/threat-model.md holds. Suites other than `lwe` hold more bits in an
entry, and are charged the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.policy.accounts import RowsAccount, SharedRows

#: Bits that an entry of the product holds at most under `lwe`.
_ENTRY_BITS = 18
#: sqrt(2 pi e) times half the norm to which a column of Z_A is scaled under `lwe`.
_SPREAD = 2.07e5
#: Begins the names of charges. Release 0.1.0 counted columns, under the names without it.
_CHARGED = "charged/"


def rank_charge(columns: int, rows: int) -> int:
    """Return what a session of d_B + 1 `columns` is charged over N `rows`, in combinations of rows, rounded up."""
    entry_bits = max(1.0, math.log2(_SPREAD / math.sqrt(rows)))
    return math.ceil(columns * (1 + _ENTRY_BITS / entry_bits))


def rank_allowance(rows: int, fraction: float) -> int:
    """Return what one peer may be charged in all over N `rows`: less than `fraction` of them."""
    return math.ceil(fraction * rows) - 1


def sessions_allowed(columns: int, rows: int, fraction: float) -> int:
    """Return how many sessions of d_B + 1 `columns` one peer may have over N `rows`."""
    return rank_allowance(rows, fraction) // rank_charge(columns, rows)


def rows_needed(columns: int, fraction: float, spent: int = 0) -> int:
    """Return the N that allows one more session of d_B + 1 `columns` after `spent`."""
    least, most = columns, math.ceil((spent + (1 + _ENTRY_BITS) * columns + 2) / fraction)
    while most - least > 1:
        middle = (least + most) // 2
        enough = spent + rank_charge(columns, middle) <= rank_allowance(middle, fraction)
        least, most = (least, middle) if enough else (middle, most)
    return most


def charged_datasets(store: Mapping[str, float]) -> set[str]:
    """Return the digests, in hexadecimal, of the data sets over which any peer was charged."""
    return {name.removeprefix(_CHARGED).partition("/")[0] for name, value in store.items() if value > 0}


class RankAccount(RowsAccount):
    """What one peer was charged over one public data set and over related ones, in combinations of rows."""

    def charge(self, columns: int, rows: int, fraction: float) -> int:
        """Charge a session of d_B + 1 `columns` over N `rows` and return what is left of `fraction` of them.

        Raises `RemoteProtocolError`, and charges nothing, when too little is left, and when the data set adds too few
        rows to others over which the peer was charged.
        """
        with self.lock:
            asked, limit = rank_charge(columns, rows), rank_allowance(rows, fraction)
            others = [(other, charged) for other in self.related if (charged := self._charged_over(other))]
            _require_new_rows(others, rows)
            own = self._charged(self.name, rows)
            carried = sum(min(charged, other.common.bit_count()) for other, charged in others)
            spent = own + carried
            if spent + asked > limit:
                raise RemoteProtocolError(
                    f"The session asks for {columns} columns of the cross-covariance over {rows} public texts, "
                    f"charged as {asked}. Its peer was charged {spent} before, {carried} of it over other texts that "
                    f"share some of these; max_rank_fraction = {fraction:g} allows {limit} in all.",
                    hint=f"Use the map that the client has, agree on {rows_needed(columns, fraction, spent)} public "
                    "texts in all or on new public texts, or raise max_rank_fraction.",
                    code=ErrorCode.RANK_BUDGET_EXHAUSTED,
                )
            name = _CHARGED + self.name
            self.store[name] = self.store.get(name, 0) + asked
            return limit - spent - asked

    def refund(self, columns: int, rows: int) -> None:
        """Take back the charge of a session that ended before anything was computed from its rows."""
        name = _CHARGED + self.name
        with self.lock:
            self.store[name] = max(0, self.store.get(name, 0) - rank_charge(columns, rows))

    def _charged(self, name: str, rows: int) -> int:
        """Return what was charged under a name, counts of columns converted."""
        return int(self.store.get(_CHARGED + name, 0)) + rank_charge(int(self.store.get(name, 0)), rows)

    def _charged_over(self, other: SharedRows) -> int:
        return self._charged(self.name_over(other), other.rows)


def _require_new_rows(others: list[tuple[SharedRows, int]], rows: int) -> None:
    """Raise `RemoteProtocolError` when the difference of results could show the rows that other data sets lack."""
    known, most = 0, 0
    for other, charged in others:
        known |= other.common
        most = max(most, charged)
    added = rows - known.bit_count()
    if added < most:
        raise RemoteProtocolError(
            f"These {rows} public texts hold {added} that are new to a peer which was charged {most} over texts that "
            "it shares with these; the difference of its results would show the embeddings of the new ones.",
            hint=f"Add {most - added} more new public texts, or put as many in the place of old ones.",
            code=ErrorCode.RANK_BUDGET_EXHAUSTED,
        )
