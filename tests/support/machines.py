"""Machines of a session with a seeded randomness, under a policy that allows suites without encryption.

Options that are not named here are fields of the machine's context, such as `limits`, `policy` or `observer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from securealign.alignment.head import LinearHead
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.context import ClientContext, ProviderContext, Quota
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.messages import UNNAMED_HEAD, UNNAMED_SPACE, OutputMode
from securealign.protocol.offers import FindHead, OfferedHead, OfferedRows, only_head, only_rows
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.rules import Policy
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.wire import InferenceCodec, TrainingCodec

from .entropy import SeededEntropy

#: Lets suites run that protect nothing.
OPEN_POLICY = Policy(allow_unencrypted=True)
DATASET = bytes(range(32))


def training_client(
    suites: Sequence[Suite],
    rows: Rows | FloatMatrix,
    dataset: bytes = DATASET,
    *,
    private_rows: Rows | None = None,
    **context: Any,
) -> TrainingClient:
    return TrainingClient(
        _client(codec=TrainingCodec(), suites=suites, **context), _rows(rows), dataset, private_rows=private_rows
    )


def training_provider(
    suites: Sequence[Suite],
    rows: Rows | FloatMatrix,
    dataset: bytes = DATASET,
    *,
    total_squares: float | None = None,
    account: Any = None,
    privacy_account: Any = None,
    space: bytes = UNNAMED_SPACE,
    **context: Any,
) -> TrainingProvider:
    offer = OfferedRows(
        rows=_rows(rows),
        dataset_digest=dataset,
        space=space,
        total_squares=total_squares,
        account=account,
        privacy_account=privacy_account,
    )
    return TrainingProvider(_provider(codec=TrainingCodec(), suites=suites, **context), only_rows(offer))


def inference_client(
    suites: Sequence[Suite],
    provider_dim: int,
    *,
    slots: int = 64,
    space: bytes = UNNAMED_SPACE,
    outputs: Sequence[OutputMode] = tuple(OutputMode),
    head: str = "",
    **context: Any,
) -> InferenceClient:
    return InferenceClient(
        _client(codec=InferenceCodec(), suites=suites, **context),
        provider_dim,
        slots=slots,
        space=space,
        outputs=outputs,
        head=head,
    )


def inference_provider(
    suites: Sequence[Suite],
    head: LinearHead,
    *,
    account: QueryAccount | None = None,
    throttle: Quota | None = None,
    head_digest: bytes = UNNAMED_HEAD,
    prepare_throttle: Quota | None = None,
    space: bytes = UNNAMED_SPACE,
    find: FindHead | None = None,
    **context: Any,
) -> InferenceProvider:
    return InferenceProvider(
        _provider(codec=InferenceCodec(), suites=suites, **context),
        find or only_head(OfferedHead(head=head, space=space, digest=head_digest, account=account)),
        throttle=throttle,
        prepare_throttle=prepare_throttle,
    )


def _client(*, entropy: Entropy | None = None, allow_unencrypted: bool = True, **fields: Any) -> ClientContext:
    return ClientContext(entropy=entropy or SeededEntropy(b"client"), allow_unencrypted=allow_unencrypted, **fields)


def _provider(*, entropy: Entropy | None = None, policy: Policy = OPEN_POLICY, **fields: Any) -> ProviderContext:
    return ProviderContext(entropy=entropy or SeededEntropy(b"provider"), policy=policy, **fields)


def _rows(rows: Rows | FloatMatrix) -> Rows:
    return rows if isinstance(rows, Rows) else Rows(rows)
