"""How many answers a peer is given over all its sessions, counted in queries and in bits.

d_A + 1 independent answers determine the head, K (d_A + 1) numbers. Counting calls is not enough: several coordinates
fit into one query at different scales, and each logit then holds several numbers at less precision. What cannot be
packed is information. An answer holds at most K times the bits that a logit can hold under the suite
(`HeadSizes.answer_bits`), so a peer that was given B bits knows the head to B bits at most.

What it does not do: peers that share answers are counted apart. Bits of answers to ordinary texts count like those of
an attack. Under a suite that is not function private an answer shows more than its logits, and this ledger does not see
it.
"""

from dataclasses import dataclass

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.policy.accounts import Account


@dataclass(frozen=True, kw_only=True)
class QueryLimits:
    """What one peer may be given over all its sessions; bits without a limit are counted all the same."""

    queries: int
    bits: int | None = None


class QueryAccount(Account):
    """The answers given to one peer."""

    @property
    def queries(self) -> int:
        """Queries answered in all sessions; a retry of the same bytes does not count again."""
        return int(self.store.get(f"{self.name}/queries", 0))

    @property
    def bits(self) -> int:
        """Bits that the answers held at most."""
        return int(self.store.get(f"{self.name}/bits", 0))

    def left(self, answer_bits: int, limits: QueryLimits) -> int:
        """Return how many more queries of `answer_bits` each are answered."""
        with self.lock:
            left = limits.queries - self.queries
            if limits.bits is not None:
                left = min(left, (limits.bits - self.bits) // answer_bits)
            return max(0, left)

    def charge(self, queries: int, answer_bits: int, limits: QueryLimits) -> None:
        """Count queries before they are answered; raises `RemoteProtocolError`, and counts nothing, beyond a limit."""
        bits = queries * answer_bits
        with self.lock:
            _require("max_queries", "queries", self.queries, queries, limits.queries)
            _require("max_answer_bits", "bits of answers", self.bits, bits, limits.bits)
            # A store that outlives a crash between the two errs against the peer, and both are charged before an
            # answer leaves.
            self.store[f"{self.name}/bits"] = self.bits + bits
            self.store[f"{self.name}/queries"] = self.queries + queries


def _require(rule: str, unit: str, spent: int, asked: int, limit: int | None) -> None:
    if limit is not None and spent + asked > limit:
        raise RemoteProtocolError(
            f"The peer asks for {asked} {unit} and was given {spent} before; {rule} allows {limit} in all.",
            hint=f"Raise {rule} if the peer may know so much of the head.",
            code=ErrorCode.QUERY_BUDGET_EXHAUSTED,
        )
