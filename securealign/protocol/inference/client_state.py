"""Where the client of an inference session stands between two messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securealign.protocol.resume.snapshot import MachineState


@dataclass(frozen=True, kw_only=True)
class InferenceClientState(MachineState):
    """Queries submitted, pools requested, and what is under way in messages of the upload, answers and a pool.

    Blobs: pools with slots that are used and not all answered, each after its nonce, their tables, in pieces, for
    label-only answers, and the answers that the caller has not taken into its own record.
    """

    submitted: int
    pools: int
    head_norm: float
    #: Why an answer did not decrypt, if one did not.
    undecrypted: str | None
    uploaded: int = 0
    acknowledged: int = 0
    #: For each answer that is due: pool, first slot, count, number of the first query, and scales in hexadecimal.
    outstanding: Sequence[Sequence[Any]] = ()
    #: Number of a pool that is under way, and whether its choices were sent.
    under_way: Sequence[Any] | None = None
