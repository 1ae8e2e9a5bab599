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
from securealign.errors import ErrorCode, InputError
from securealign.he.entropy import Entropy, SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import DEFAULT_SUITE, get_suite
from securealign.matrices import FloatMatrix, Rows, as_matrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.party import Party, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.privacy import Privacy
from securealign.protocol.training.provider import TrainingProvider
from securealign.simulation.job import CLIENT, PROVIDER, Job
from securealign.simulation.networks import Network, find_network
from securealign.simulation.replay import Conditions
from securealign.simulation.session import Session
from securealign.transport.in_process import InProcessLink
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.transport.stats import RunStats
from securealign.wire import InferenceCodec, TrainingCodec

#: Stands for the public texts when only embeddings are given.
UNNAMED_DATASET = bytes(32)
_SIMULATION = Policy(allow_unencrypted=True)


@dataclass(frozen=True)
class AlignmentRun:
    """A fitted map, what it cost, and the session, which says what it would cost over other networks."""

    alignment: AlignmentMap
    stats: RunStats
    session: Session


@dataclass(frozen=True)
class ClassificationRun:
    """Logits (m, K), the index of the largest in each row (m,), what they cost, and the session."""

    logits: FloatMatrix = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    stats: RunStats
    session: Session


def align_in_process(
    z_a: npt.ArrayLike,
    z_b: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    ridge: Penalty = 1e-3,
    network: str | Network | None = None,
    privacy: Privacy | None = None,
    entropy: Entropy | None = None,
) -> AlignmentRun:
    """Fit the map from Z_B (N, d_B) to Z_A (N, d_A) under encryption, both parties in this process.

    `ridge` is the penalty of the paper, added to the Gram matrix, or "auto". With `privacy` the provider adds noise
    that hides single rows of Z_A. Over a `network` of `securealign.simulation`, by name, the times of the figures are
    virtual. Raises `InputError` for matrices that do not fit together or hold NaN, `ConfigurationError` for an unknown
    network, `SuiteError` for a suite that is unknown or cannot hold the problem, and the error of the party that
    refuses.
    """
    conditions = _conditions(network)
    provider_rows, client_matrix = Rows(z_a, name="Z_A"), as_matrix(z_b, "Z_B")
    if provider_rows.shape[0] != len(client_matrix):
        raise InputError(
            f"Z_A has {provider_rows.shape[0]} rows and Z_B has {len(client_matrix)}.",
            hint="Row i of both must embed the same text.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    chosen, entropy = _resolve(suite), entropy or SystemEntropy()
    log = _Log()
    with log.meter.timed(CLIENT, "solve"):
        problem = ClientProblem(client_matrix, ridge)
        private = PrivateProblem(problem) if privacy is not None else None
    client = TrainingClient(
        TrainingCodec(),
        [chosen],
        problem.rows,
        UNNAMED_DATASET,
        entropy,
        allow_unencrypted=True,
        observer=log.meter.observer(CLIENT),
        private_rows=private.rows if private is not None else None,
    )
    provider = TrainingProvider(
        TrainingCodec(),
        [chosen],
        provider_rows,
        UNNAMED_DATASET,
        entropy,
        policy=replace(_SIMULATION, privacy=privacy),
        observer=log.meter.observer(PROVIDER),
    )
    product = train(InProcessLink(client, provider, log.meter), client, log.meter)
    with log.meter.timed(CLIENT, "solve"):
        alignment = (private or problem).solve(product)
    session = log.session(client)
    return AlignmentRun(alignment, session.stats(conditions), session)


def classify_in_process(
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    queries: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    network: str | Network | None = None,
    pool_slots: int = 64,
    batch: int | None = None,
    entropy: Entropy | None = None,
) -> ClassificationRun:
    """Apply a head, `weight` (d_A, K) and `bias` (K,), to `queries` (m, d_A) under encryption, in this process.

    A message carries up to `batch` queries, all that fit without it. Over a `network` of `securealign.simulation`, by
    name, the times of the figures are virtual. Raises `InputError` for matrices that do not fit together or hold NaN,
    `ConfigurationError` for an unknown network, `SuiteError` for a suite that is unknown or cannot hold the problem.
    """
    conditions = _conditions(network)
    matrix = np.asarray(as_matrix(weight, "The head's weight"), dtype=np.float64)
    names = tuple(str(index) for index in range(matrix.shape[1]))
    head = LinearHead(matrix, np.asarray(bias, dtype=np.float64), names)
    query_matrix = as_matrix(queries, "The query matrix", columns=len(matrix))
    chosen, entropy = _resolve(suite), entropy or SystemEntropy()
    log = _Log()
    client = InferenceClient(
        InferenceCodec(),
        [chosen],
        len(matrix),
        entropy,
        slots=pool_slots,
        allow_unencrypted=True,
        observer=log.meter.observer(CLIENT),
    )
    policy = Policy(allow_unencrypted=True, max_queries=len(query_matrix))
    provider = InferenceProvider(
        InferenceCodec(), [chosen], head, entropy, policy=policy, observer=log.meter.observer(PROVIDER)
    )
    open_session = InferenceSession(InProcessLink(client, provider, log.meter), client, log.meter)
    step = batch or len(query_matrix)
    blocks = [open_session.logits(query_matrix[first : first + step]) for first in range(0, len(query_matrix), step)]
    open_session.close()
    logits = np.vstack(blocks)
    session = log.session(client)
    return ClassificationRun(logits, logits.argmax(axis=1), session.stats(conditions), session)


class _Log:
    """Meters a session and keeps its steps."""

    def __init__(self) -> None:
        self._job = Job()
        self.meter = Meter(counted=CLIENT, listener=self._job.hear)
        self.meter.count_connection()

    def session(self, client: Party) -> Session:
        """Return the session once it is done."""
        return Session(
            kind=client.name,
            suite=set_up(client.suite),
            facts=client.facts,
            job=self._job,
            counted=self.meter.stats(),
            transcript=client.transcript_digest,
        )


def _resolve(suite: str | Suite) -> Suite:
    return get_suite(suite) if isinstance(suite, str) else suite


def _conditions(network: str | Network | None) -> Conditions | None:
    if network is None:
        return None
    return Conditions(network=find_network(network) if isinstance(network, str) else network)
