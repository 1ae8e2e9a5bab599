"""What a provider offers to one peer: heads and public rows, found by the names that a client's hello may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.messages import UNNAMED_HEAD, UNNAMED_SPACE, OutputMode
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

    def classes(self, abstain_below: float | None) -> tuple[FloatMatrix, FloatMatrix]:
        """Return weight (d_A, K) and bias (K,), or K + 1 classes where the last stands for no answer."""
        weight, bias = self.head.weight, self.head.bias
        if abstain_below is None:
            return weight, bias
        return np.pad(weight, ((0, 0), (0, 1))), np.append(bias, abstain_below)


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


def output_mode(policy: Policy) -> OutputMode:
    """Return what an answer holds under a policy."""
    if policy.labels is None:
        return OutputMode.LOGITS
    return OutputMode.LABEL_CONFIDENCE if policy.labels.buckets else OutputMode.LABEL


def answer_terms(policy: Policy) -> tuple[object, ...]:
    """Return what fixes the answers of a session under a policy."""
    return policy.output, policy.output_bits, policy.levels


def head_changed(name: str) -> RemoteProtocolError:
    """Return why a session on a head that was replaced ends."""
    return RemoteProtocolError(
        f"The head {name!r} was changed after the session began.",
        hint="Its client has to start again: answers of two heads must not be mixed.",
        code=ErrorCode.HEAD_CHANGED,
    )
