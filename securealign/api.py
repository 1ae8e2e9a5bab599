"""Both parties in one process: the Python entry points."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points

import numpy as np
import numpy.typing as npt

from securealign.alignment.checks import CheckedQueries, require_consistent, require_same_labels, slots_with_checks
from securealign.alignment.clear import distinct_rows, warn_unrelated
from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.links import Link, probabilities
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.margins import precision_warning, query_norms, uncertain_share
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.regression import MapKind
from securealign.alignment.ridge import Penalty, check_paired
from securealign.alignment.scaling import Scaling
from securealign.alignment.secure import ClientProblem
from securealign.compute import one_blas_thread
from securealign.errors import DependencyError, SecurealignWarning
from securealign.he.entropy import Entropy, SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import DEFAULT_SUITE, get_suite
from securealign.limits import DIGEST_BYTES
from securealign.matrices import FloatMatrix, Rows, as_matrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine, require
from securealign.protocol.offers import OfferedHead, OfferedRows, only_head, only_rows
from securealign.protocol.policy.privacy import Privacy
from securealign.protocol.policy.rules import Output, Policy
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.transport.stats import RunStats
from securealign.transport.steps import (
    CLIENT,
    InProcessLink,
    InProcessSession,
    SimulatedNetwork,
    StepLog,
    in_process_contexts,
)
from securealign.wire import InferenceCodec, TrainingCodec

#: Stands for the public texts when only embeddings are given.
UNNAMED_DATASET = bytes(32)


@dataclass(frozen=True)
class AlignmentRun:
    """A fitted map, what it cost, and the session, which says what it would cost over other networks."""

    alignment: AlignmentMap
    stats: RunStats
    session: InProcessSession


@dataclass(frozen=True)
class ClassificationRun:
    """Labels (m,), the index of the largest logit or -1 for none, what they cost, and the session.

    With labels alone, `logits` (m, K) is None; where there are thresholds, `confidence` (m,) says how many of them the
    largest logit exceeds.
    """

    logits: FloatMatrix | None = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    stats: RunStats
    session: InProcessSession
    confidence: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    link: Link = "softmax"

    @property
    def scores(self) -> npt.NDArray[np.float64] | None:
        """Probabilities (m,) of the labels, None where answers are labels alone and where logits are margins."""
        if self.logits is None or self.link == "margin":
            return None
        found: npt.NDArray[np.float64] = probabilities(self.logits, self.link).max(axis=1)
        return found


@one_blas_thread()
def align_in_process(
    z_a: npt.ArrayLike,
    z_b: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    ridge: Penalty = 1e-3,
    map: MapKind = "ridge",  # noqa: A002 - what users call it
    network: object | None = None,
    privacy: Privacy | None = None,
    entropy: Entropy | None = None,
) -> AlignmentRun:
    """Fit the map from Z_B (N, d_B) to Z_A (N, d_A) under encryption, both parties in this process.

    `ridge` is the penalty of the paper, added to the Gram matrix, which takes all rows as they are, or "auto", which
    leaves repeated rows out, standardises, and chooses by generalised cross-validation. `map` is "ridge" (the paper's)
    or "soft": see `securealign.alignment.regression`. With `privacy` the provider adds noise that hides single rows of
    Z_A; the map is then the paper's. Over a `network`, by name or as one made by its simulator, the times of the
    figures are virtual; making the provider's private coordinates, once for a data set, is not in them. Raises
    `InputError` for matrices that do not fit together, hold NaN, do not vary or are not of the same texts,
    `ConfigurationError` for an unknown network, `DependencyError` without a package that simulates them, `SuiteError`
    for a suite that is unknown or cannot hold the problem, and the error of the party that refuses.
    """
    simulated = _simulated(network)
    chosen, entropy = _resolve(suite), entropy or SystemEntropy()
    provider_matrix, client_matrix = as_matrix(z_a, "Z_A"), as_matrix(z_b, "Z_B")
    check_paired(len(client_matrix), len(provider_matrix))
    if ridge == "auto":
        kept = distinct_rows(client_matrix, provider_matrix)
        if len(kept) < len(client_matrix):
            client_matrix, provider_matrix = client_matrix[kept], provider_matrix[kept]
    provider_rows = Rows(provider_matrix, name="Z_A")
    if privacy is None:
        scaling = Scaling.of(provider_rows, "Z_A", normalise=ridge == "auto")
        space = Space.of(provider_rows, entropy.fork("space"), scaling=scaling)
        provider_rows = space.rows(provider_rows)
    else:
        space = Space.fixed(provider_rows.shape[1], entropy.fork("space"))
    log = _Log()
    with log.meter.timed(CLIENT, "solve"):
        problem = ClientProblem(client_matrix, ridge, map, fixed=privacy is not None)
        private = PrivateProblem(problem) if privacy is not None else None
    client_context, provider_context = in_process_contexts(
        TrainingCodec(), chosen, entropy, log.meter, policy=Policy(privacy=privacy)
    )
    private_rows = private.rows if private is not None else None
    client = TrainingClient(client_context, problem.rows, UNNAMED_DATASET, private_rows=private_rows)
    offered = OfferedRows(
        rows=provider_rows,
        dataset_digest=UNNAMED_DATASET,
        space=space.identifier,
        total_squares=space.total_squares,
    )
    provider = TrainingProvider(provider_context, only_rows(offered))
    product = train(InProcessLink(client, provider, log.meter), client, log.meter)
    with log.meter.timed(CLIENT, "solve"):
        into_space = private.solve(product) if private else problem.solve(product, client.total_squares)
    warn_unrelated(into_space.metadata)
    alignment = AlignmentMap(*space.unfold(into_space.weight, into_space.bias), into_space.metadata)
    session = log.session(client)
    return AlignmentRun(alignment, session.stats(simulated), session)


@one_blas_thread()
def classify_in_process(
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    queries: npt.ArrayLike,
    *,
    suite: str | Suite = DEFAULT_SUITE,
    network: object | None = None,
    pool_slots: int = 64,
    batch: int | None = None,
    verify_answers: bool = True,
    entropy: Entropy | None = None,
    output: Output = "logits",
    abstain_below: float | None = None,
    confidence_thresholds: Sequence[float] = (),
    link: Link = "softmax",
) -> ClassificationRun:
    """Apply a head, `weight` (d_A, K) and `bias` (K,), to `queries` (m, d_A) under encryption, in this process.

    Queries travel in private coordinates that are made from all of them, so that neither scale nor offset of raw
    embeddings costs precision. A message carries up to `batch` queries, all that fit without it. With `verify_answers`
    8 queries or more are checked, which costs two more for each 32, in pools and messages that have room for them: see
    `securealign.alignment.checks`. With `output` "label" an answer is a label and shows nothing else of the logits; a
    query whose logits all lie below `abstain_below` gets none, and up to three `confidence_thresholds` above it are
    compared with the largest logit. `link` says what turns the head's logits into probabilities, as in `LinearHead`.
    Over a `network`, by name or as one made by its simulator, the times of the figures are virtual.

    Raises `InputError` for matrices that do not fit together or hold NaN, `ConfigurationError` for an unknown network
    or output and for thresholds that do not ascend, `DependencyError` when no package simulates networks, `SuiteError`
    for a suite that is unknown, cannot hold the problem or has no such output, `RemoteProtocolError` for answers that
    fail a check; warns when encryption makes labels uncertain.
    """
    simulated = _simulated(network)
    matrix = np.asarray(as_matrix(weight, "The head's weight"), dtype=np.float64)
    names = tuple(str(index) for index in range(matrix.shape[1]))
    raw_head = LinearHead(matrix, np.asarray(bias, dtype=np.float64), names, link=link)
    query_matrix = as_matrix(queries, "The query matrix", columns=len(matrix))
    chosen, entropy = _resolve(suite), entropy or SystemEntropy()
    space = Space.of_queries(Rows(query_matrix, name="The query matrix"), entropy.fork("space"))
    folded = space.fold(raw_head)
    # What all logits have in common can be as large as it likes: both sides are here to take it off and add it again.
    common = float(folded.bias.mean())
    head = replace(folded, bias=folded.bias - common)
    log = _Log()
    mapped = space.apply(query_matrix)
    labels = output == "label"
    checked = CheckedQueries(mapped, entropy.fork("checks") if verify_answers else None, labels=labels)
    policy = Policy(
        max_queries=len(checked),
        output=output,
        abstain_below=None if abstain_below is None else abstain_below - common,
        confidence_thresholds=tuple(threshold - common for threshold in confidence_thresholds),
    )
    client_context, provider_context = in_process_contexts(InferenceCodec(), chosen, entropy, log.meter, policy=policy)
    slots = slots_with_checks(pool_slots, len(mapped)) if verify_answers else pool_slots
    client = InferenceClient(client_context, len(matrix), slots=slots, space=space.identifier)
    salt = entropy.fork("head").octets(DIGEST_BYTES).tobytes()
    offered = OfferedHead(head=head, space=space.identifier, digest=head.digest(salt))
    provider = InferenceProvider(provider_context, only_head(offered))
    open_session = InferenceSession(InProcessLink(client, provider, log.meter), client, log.meter)
    step = checked.room(batch) if batch else len(checked)
    blocks = [
        open_session.answers(checked.block(first, first + step), more=max(0, len(checked) - first - step))
        for first in range(0, len(checked), step)
    ]
    logit_error = open_session.logit_error
    open_session.close()
    terms = open_session.accepted.labels
    if terms is not None:
        found = require_same_labels(checked, np.vstack(blocks), terms.bits).astype(np.int64)
        chosen_labels = np.where(found[:, 0] < matrix.shape[1], found[:, 0], -1)
        session = log.session(client)
        confidence = found[:, 1] if policy.confidence_thresholds else None
        return ClassificationRun(None, chosen_labels, session.stats(simulated), session, confidence, link)
    logits = require_consistent(checked, np.vstack(blocks), logit_error) + common
    warning = precision_warning(uncertain_share(logits, logit_error * query_norms(mapped)))
    if warning is not None:
        warnings.warn(warning, SecurealignWarning, stacklevel=2)
    session = log.session(client)
    return ClassificationRun(logits, logits.argmax(axis=1), session.stats(simulated), session, link=link)


class _Log:
    """Meters a session and keeps its steps."""

    def __init__(self) -> None:
        self._steps = StepLog()
        self.meter = Meter(counted=CLIENT, listener=self._steps.hear)
        self.meter.count_connection()

    def session(self, client: SessionMachine) -> InProcessSession:
        """Return the session once it is done."""
        return InProcessSession(
            kind=client.kind,
            suite=require(client.suite),
            facts=client.facts,
            log=self._steps,
            counted=self.meter.stats(),
            transcript=client.transcript_digest,
        )


def _resolve(suite: str | Suite) -> Suite:
    return get_suite(suite) if isinstance(suite, str) else suite


def _simulated(network: object | None) -> SimulatedNetwork | None:
    """Return what computes costs over a network; a package offers it as an entry point of `securealign.networks`."""
    if network is None:
        return None
    for found in entry_points(group="securealign.networks"):
        simulated: SimulatedNetwork = found.load()(network)
        return simulated
    raise DependencyError(
        "No package that simulates networks is installed.", hint="Run: pip install 'securealign[harness]'"
    )
