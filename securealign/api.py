"""Both parties in one process: the Python entry points."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.ridge import Penalty
from securealign.alignment.secure import ClientProblem
from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.he.entropy import Entropy, SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import DEFAULT_SUITE, get_suite
from securealign.matrices import FloatMatrix, Rows, as_matrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.policy import Policy
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.privacy import Privacy
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.in_process import InProcessLink
from securealign.transport.meter import Meter, RunStats
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec

#: Stands for the public texts when only embeddings are given.
UNNAMED_DATASET = bytes(32)
_SIMULATION = Policy(allow_unencrypted=True)


@dataclass(frozen=True)
class AlignmentRun:
    """A fitted map and what it cost."""

    alignment: AlignmentMap
    stats: RunStats


@dataclass(frozen=True)
class ClassificationRun:
    """Logits (m, K), the index of the largest in each row (m,), and what they cost."""

    logits: FloatMatrix = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    stats: RunStats


def align_in_process(
    z_a: npt.ArrayLike,
    z_b: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    ridge: Penalty = 1e-3,
    network: str | None = None,
    privacy: Privacy | None = None,
    entropy: Entropy | None = None,
) -> AlignmentRun:
    """Fit the map from Z_B (N, d_B) to Z_A (N, d_A) under encryption, both parties in this process.

    `ridge` is the penalty of the paper, added to the Gram matrix, or "auto". With `privacy` the provider adds noise
    that hides single rows of Z_A. Raises `InputError` for matrices that do not fit together or hold NaN, `SuiteError`
    for a suite that is unknown or cannot hold the problem, and the error of the party that refuses.
    """
    _check_network(network)
    provider_rows, client_matrix = Rows(z_a, name="Z_A"), as_matrix(z_b, "Z_B")
    if provider_rows.shape[0] != len(client_matrix):
        raise InputError(
            f"Z_A has {provider_rows.shape[0]} rows and Z_B has {len(client_matrix)}.",
            hint="Row i of both must embed the same text.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    suites, entropy = [_resolve(suite)], entropy or SystemEntropy()
    meter = Meter(counted="client")
    with meter.timed("client", "solve"):
        problem = ClientProblem(client_matrix, ridge)
        private = PrivateProblem(problem) if privacy is not None else None
    client = TrainingClient(
        TrainingCodec(),
        suites,
        problem.rows,
        UNNAMED_DATASET,
        entropy,
        allow_unencrypted=True,
        observer=meter.observer("client"),
        private_rows=private.rows if private is not None else None,
    )
    provider = TrainingProvider(
        TrainingCodec(),
        suites,
        provider_rows,
        UNNAMED_DATASET,
        entropy,
        policy=replace(_SIMULATION, privacy=privacy),
        observer=meter.observer("provider"),
    )
    product = train(InProcessLink(client, provider, meter), client, meter)
    with meter.timed("client", "solve"):
        alignment = (private or problem).solve(product)
    return AlignmentRun(alignment, meter.stats())


def classify_in_process(
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    queries: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    network: str | None = None,
    pool_slots: int = 64,
    batch: int | None = None,
    entropy: Entropy | None = None,
) -> ClassificationRun:
    """Apply a head, `weight` (d_A, K) and `bias` (K,), to `queries` (m, d_A) under encryption, in this process.

    A message carries up to `batch` queries, all that fit without it. Raises `InputError` for matrices that do not fit
    together or hold NaN, `SuiteError` for a suite that is unknown or cannot hold the problem.
    """
    _check_network(network)
    matrix = np.asarray(as_matrix(weight, "The head's weight"), dtype=np.float64)
    names = tuple(str(index) for index in range(matrix.shape[1]))
    head = LinearHead(matrix, np.asarray(bias, dtype=np.float64), names)
    query_matrix = as_matrix(queries, "The query matrix", columns=len(matrix))
    suites, entropy = [_resolve(suite)], entropy or SystemEntropy()
    meter = Meter(counted="client")
    client = InferenceClient(
        InferenceCodec(),
        suites,
        len(matrix),
        entropy,
        slots=pool_slots,
        allow_unencrypted=True,
        observer=meter.observer("client"),
    )
    policy = Policy(allow_unencrypted=True, max_queries=len(query_matrix))
    provider = InferenceProvider(
        InferenceCodec(), suites, head, entropy, policy=policy, observer=meter.observer("provider")
    )
    session = InferenceSession(InProcessLink(client, provider, meter), client, meter)
    step = batch or len(query_matrix)
    blocks = [session.logits(query_matrix[first : first + step]) for first in range(0, len(query_matrix), step)]
    session.close()
    logits = np.vstack(blocks)
    return ClassificationRun(logits, logits.argmax(axis=1), meter.stats())


def _resolve(suite: str | Suite) -> Suite:
    return get_suite(suite) if isinstance(suite, str) else suite


def _check_network(network: str | None) -> None:
    if network not in {None, "loopback"}:
        raise ConfigurationError(f"There is no network profile named {network!r}.", hint="Use None or 'loopback'.")
