"""What a provider offers to one peer: heads and public rows, found by the names that a client's hello may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from securealign.alignment.head import LinearHead
from securealign.matrices import Rows
from securealign.protocol.messages import UNNAMED_HEAD, UNNAMED_SPACE
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.privacy import PrivacyAccount
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.policy.rules import Policy


@dataclass(frozen=True, kw_only=True)
class OfferedHead:
    """A head of embeddings in the coordinates of `space`; `account` bounds what the peer's sessions are given together.

    Without an account each session stands alone; without a policy that of the context holds.
    """

    head: LinearHead
    space: bytes = UNNAMED_SPACE
    #: Names the head to the client.
    digest: bytes = UNNAMED_HEAD
    policy: Policy | None = None
    account: QueryAccount | None = None


@dataclass(frozen=True, kw_only=True)
class OfferedRows:
    """Public embeddings (N, d_A) in the coordinates of `space`, and the squared norm of all, if it is known.

    `account` bounds what the peer's sessions show together, and `privacy_account` what they cost if policy asks for
    differential privacy; without them each session stands alone.
    """

    rows: Rows
    dataset_digest: bytes
    space: bytes = UNNAMED_SPACE
    total_squares: float | None = None
    account: RankAccount | None = None
    privacy_account: PrivacyAccount | None = None


#: Returns the head of a name, or the only one for ""; raises `RemoteProtocolError` when the peer is offered none.
FindHead = Callable[[str], OfferedHead]
#: Returns the rows of a name, or of a data set digest for ""; raises `RemoteProtocolError` when there are none.
FindRows = Callable[[str, bytes], OfferedRows]


def only_head(offer: OfferedHead) -> FindHead:
    """Return the search of a provider that offers one head."""
    return lambda _name: offer


def only_rows(offer: OfferedRows) -> FindRows:
    """Return the search of a provider that offers one data set."""
    return lambda _name, _digest: offer
