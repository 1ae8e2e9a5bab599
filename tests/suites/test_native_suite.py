"""Sessions of a native suite: hostile bytes that kill a worker end one session, and no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from support.contract import CovarianceSession, Exchange, HeadSession, child_processes, logit_error, product_error
from support.engines import PROFILE, SENDS_CIPHERTEXT, SENDS_KEY, SENDS_RESULT
from support.pair import InferenceCase, TrainingCase
from support.pools import NONCE
from support.tiers import first_quick

from securealign.api import align_in_process, classify_in_process
from securealign.errors import CiphertextError, ErrorCode, LocalProtocolError, SecurealignError, SuiteError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, EncryptedRows, HeadShape
from securealign.he.native.covariance import CovariancePlan
from securealign.he.native.envelope import seal
from securealign.he.native.frames import MAX_FRAME
from securealign.he.native.profile import Job
from securealign.he.native.suite import NativeSuite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import Rows

#: Made-up embeddings that share no texts, or too little to tell.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")

SUITE = NativeSuite(PROFILE)
TRAINING = TrainingCase(suites=(SUITE,))
INFERENCE = InferenceCase(suites=(SUITE,))
CASES = {"training": TRAINING, "inference": INFERENCE}
SESSION = bytes(32)


def assert_served(case: TrainingCase | InferenceCase) -> None:
    """Run an honest session."""
    pair = case.finished()
    pair.assert_done()
    if isinstance(case, TrainingCase):
        assert np.allclose(pair.client.product(), case.product)
    else:
        asked = np.vstack([case.queries(2), case.queries(1)])
        answers = np.vstack([logits for _, logits in pair.client.take_answers()])
        assert np.allclose(answers, asked @ case.head.weight + case.head.bias)


# Honest sessions


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_honest_session_leaves_no_process(case):
    before = child_processes()
    assert_served(case)
    assert child_processes() == before


@pytest.mark.thorough
def test_the_python_interface_takes_the_suite_and_gives_what_no_encryption_gives():
    random = np.random.default_rng(1)
    z_a, z_b = random.normal(size=(20, 3)), random.normal(size=(20, 4))
    fitted, expected = (align_in_process(z_a, z_b, suite=suite).alignment for suite in (SUITE, "plaintext"))
    assert np.allclose(fitted.apply(z_b), expected.apply(z_b))
    weight, bias, queries = random.normal(size=(3, 2)), random.normal(size=2), random.normal(size=(5, 3))
    assert np.allclose(classify_in_process(weight, bias, queries, suite=SUITE).logits, queries @ weight + bias)


@pytest.mark.parametrize(("features", "columns"), [(1, 1), (3, 1024), (2, 2100)])
@pytest.mark.thorough
def test_rows_in_several_ciphertexts(features, columns):
    random = np.random.default_rng(1)
    left, right = random.normal(size=(5, features)), random.normal(size=(5, columns))
    with closing(CovarianceSession(SUITE, left, right)) as session:
        assert product_error(session.product, left, right) < 1e-12


@pytest.mark.parametrize("features", [1, 1023, 2500])
@pytest.mark.thorough
def test_queries_in_several_ciphertexts(features):
    random = np.random.default_rng(1)
    weight, bias, queries = random.normal(size=(features, 3)), random.normal(size=3), random.normal(size=(2, features))
    with closing(HeadSession(SUITE, weight, bias, 2)) as session:
        assert logit_error(session.logits(queries), weight, bias, queries) < 1e-12


# A hostile client


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("variable", first_quick([SENDS_CIPHERTEXT, SENDS_KEY]))
@pytest.mark.parametrize("order", ["!abort", pytest.param("!garbage", marks=pytest.mark.thorough)])
def test_a_client_that_kills_the_providers_worker_ends_its_own_session_only(monkeypatch, case, variable, order):
    before = child_processes()
    with monkeypatch.context() as patch:
        patch.setenv(variable, order)
        pair = case.finished()
    pair.assert_aborted(ErrorCode.CIPHERTEXT_MALFORMED, by="provider")
    assert isinstance(pair.provider.error, CiphertextError)
    assert str(pair.provider.error).isprintable()
    assert child_processes() == before
    assert_served(case)


@pytest.mark.thorough
def test_a_session_under_way_does_not_notice_that_another_one_is_killed(monkeypatch):
    running = INFERENCE.opened()
    with monkeypatch.context() as patch:
        patch.setenv(SENDS_KEY, "!abort")
        INFERENCE.opened().assert_aborted(ErrorCode.CIPHERTEXT_MALFORMED, by="provider")
    running.up.extend(running.client.submit(INFERENCE.queries(1)))
    running.carry()
    running.up.extend(running.client.finish())
    running.carry()
    running.assert_done()


# A hostile provider

#: What a worker that a peer controls makes of that peer's rows or queries.
RESULTS = ["one more", "none", "empty", "large"]


@pytest.mark.parametrize(
    ("case", "result"), first_quick([(INFERENCE, RESULTS[0]), *((TRAINING, result) for result in RESULTS)], 2)
)
def test_results_that_do_not_fit_are_not_sent(monkeypatch, case, result):
    monkeypatch.setenv(SENDS_RESULT, result)
    pair = case.finished()
    pair.assert_aborted(ErrorCode.CIPHERTEXT_MALFORMED, by="provider")


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["!abort", "!answer_vector", "wrong shape"])
def test_a_result_that_kills_the_clients_worker_is_a_typed_error_and_tells_the_provider_nothing(monkeypatch, order):
    before = child_processes()
    with monkeypatch.context() as patch:
        patch.setenv(SENDS_RESULT, order)
        pair = TRAINING.finished()
    pair.assert_done()
    with pytest.raises(CiphertextError):
        pair.client.product()
    assert child_processes() == before


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["!fail", "wrong shape"])
def test_an_answer_that_the_clients_worker_refuses_tells_the_provider_nothing(monkeypatch, order):
    with monkeypatch.context() as patch:
        patch.setenv(SENDS_RESULT, order)
        pair = INFERENCE.finished()
    pair.assert_done()
    assert isinstance(pair.client.undecrypted, CiphertextError)


def test_an_answer_that_kills_the_clients_worker_ends_the_session(monkeypatch):
    """The key dies with the worker, so there is no second answer to try on it."""
    with monkeypatch.context() as patch:
        patch.setenv(SENDS_RESULT, "!abort")
        pair = INFERENCE.opened()
    pair.up.extend(pair.client.submit(INFERENCE.queries(1)))
    pair.carry()
    assert "SIGABRT" in str(pair.client.undecrypted)
    with pytest.raises(SuiteError, match="has ended"):
        pair.client.submit(INFERENCE.queries(1))


@pytest.mark.parametrize(
    "order", ["!abort", *(pytest.param(order, marks=pytest.mark.thorough) for order in ("!fail", "wrong shape"))]
)
def test_logits_that_did_not_decrypt_are_nan_and_the_error_comes_once_the_session_is_over(monkeypatch, order):
    monkeypatch.setenv(SENDS_RESULT, order)
    pair = INFERENCE.opened()
    pair.up.extend(pair.client.submit(INFERENCE.queries(2)))
    pair.carry()
    [(_, logits)] = pair.client.take_answers()
    assert logits.shape == (2, 2)
    assert np.isnan(logits).all()
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()
    # A user who asks through the Python interface is told at the end.
    with pytest.raises(CiphertextError):
        classify_in_process(np.eye(2), np.zeros(2), np.ones((1, 2)), suite=SUITE)


@pytest.fixture
def exchange():
    with closing(Exchange(SUITE)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def large_exchange():
    with closing(Exchange(SUITE, scale=1e30)) as exchange:
        yield exchange


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("kind", ["result", "answer"])
def test_what_decrypts_to_no_finite_number_is_refused(large_exchange, number, kind):
    """Numbers of 1e308 are finite until their scale is taken away."""
    exponents = 2 * large_exchange.left.shape[1] if kind == "result" else 2
    start = HEADER_BYTES + exponents + 4 + 4

    def alter(data: bytes) -> bytes:
        return data[:start] + np.float64(number).tobytes() + data[start + 8 :]

    refusal = large_exchange.attempt(kind, alter)
    assert isinstance(refusal, CiphertextError)
    assert refusal.code is ErrorCode.COEFFICIENT_OUT_OF_RANGE
    # The control: a number that stays finite is believed.
    assert not isinstance(large_exchange.attempt(kind, lambda data: data), SecurealignError)


@pytest.mark.thorough
def test_bytes_are_checked_before_they_reach_a_worker(exchange):
    """Header, length and padding are the party's to check: an order in a refused blob is never read."""
    envelope = seal([b"!abort"], 1, PROFILE.covariance_key_bytes)
    honest = exchange.blobs["covariance key"]
    other = bytes([honest[0] ^ 1]) + honest[1:HEADER_BYTES]
    for refused in (other + envelope, honest[:HEADER_BYTES] + envelope[:-1] + b"\1"):
        outcome = exchange.attempt("covariance key", lambda _, refused=refused: refused)
        assert isinstance(outcome, CiphertextError)
        assert "worker" not in str(outcome)
    # The control: in the right blob it is.
    outcome = exchange.attempt("covariance key", lambda _: honest[:HEADER_BYTES] + envelope)
    assert "SIGABRT" in str(outcome)


# Calls out of order


@pytest.mark.thorough
def test_rows_are_encrypted_once_and_taken_in_order(exchange):
    session = exchange.covariance
    with pytest.raises(LocalProtocolError, match="twice"):
        next(session.encryptor.encrypt(session.max_bytes))
    [piece] = session.pieces
    with session.evaluator() as evaluator:
        with pytest.raises(CiphertextError, match="0 of 5 rows"):
            evaluator.finish()
        for first, count in ((1, 4), (0, 0), (0, 6), (-1, 5)):
            with pytest.raises(CiphertextError, match="not the next ones"):
                evaluator.absorb(EncryptedRows(first, count, piece.data))
        evaluator.absorb(piece)
        with pytest.raises(CiphertextError, match="not the next ones"):
            evaluator.absorb(piece)


@pytest.mark.thorough
def test_a_slot_holds_one_query_and_a_pool_holds_nothing(exchange):
    encryptor = exchange.head.encryptor
    with pytest.raises(LocalProtocolError, match="second query"):
        encryptor.encrypt(0, 0, exchange.queries)
    with pytest.raises(CiphertextError, match="no offline phase"):
        encryptor.load_pool(7, b"x", NONCE)


# Shapes that do not fit


def infeasible(make: Callable[[], object]) -> SuiteError:
    with pytest.raises(SuiteError) as refusal:
        make()
    assert refusal.value.code is ErrorCode.PLAN_INFEASIBLE
    assert refusal.value.hint == "Use the suite lwe."
    return refusal.value


def test_a_row_larger_than_a_message_is_refused_before_anything_is_encrypted():
    limit = MAX_CHUNK_BYTES // CovariancePlan(PROFILE, CovarianceShape(rows=1, provider_dim=1, columns=1)).row_bytes
    SUITE.covariance_sizes(CovarianceShape(rows=1, provider_dim=1, columns=1024 * limit))
    refusal = infeasible(
        lambda: SUITE.covariance_sizes(CovarianceShape(rows=1, provider_dim=1, columns=1024 * limit + 1))
    )
    assert "more than a message holds" in str(refusal)


def test_a_result_larger_than_a_worker_returns_is_refused_by_both_parties():
    rows = CovariancePlan(PROFILE, CovarianceShape(rows=1, provider_dim=1, columns=1)).result_bytes
    limit = MAX_FRAME // rows
    shape = CovarianceShape(rows=1, provider_dim=limit + 1, columns=1)
    SUITE.covariance_sizes(replace(shape, provider_dim=limit))
    infeasible(lambda: SUITE.covariance_encryptor(shape, SESSION, Rows(np.ones((1, 1))), SystemEntropy()))
    infeasible(lambda: SUITE.covariance_evaluator(shape, SESSION, Rows(np.ones((1, limit + 1))), SystemEntropy()))


@pytest.mark.thorough
def test_more_classes_than_a_ciphertext_holds_are_refused():
    SUITE.head_sizes(HeadShape(provider_dim=2, classes=1024, slots=1))
    assert "1025" in str(infeasible(lambda: SUITE.head_sizes(HeadShape(provider_dim=2, classes=1025, slots=1))))


@pytest.mark.thorough
def test_a_library_whose_objects_outgrow_their_room_is_found_out_by_its_own_party():
    small: Job = replace(PROFILE.head, fresh_bytes=16)
    suite = NativeSuite(replace(PROFILE, head=small, covariance=small))
    before = child_processes()
    with pytest.raises(SuiteError, match="are due"), closing(Exchange(suite)):
        pass
    for make in (
        lambda: NativeSuite(replace(PROFILE, covariance_key_bytes=4)).covariance_encryptor(
            CovarianceShape(rows=1, provider_dim=1, columns=1), SESSION, Rows(np.ones((1, 1))), SystemEntropy()
        ),
        lambda: NativeSuite(replace(PROFILE, head_key_bytes=lambda _: 4)).head_encryptor(
            HeadShape(provider_dim=1, classes=1, slots=1), SESSION, SystemEntropy()
        ),
    ):
        with pytest.raises(SuiteError, match="are due"):
            make()
    assert child_processes() == before
