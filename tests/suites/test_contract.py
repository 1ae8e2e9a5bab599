"""What every suite owes to the protocol and to its users, whatever it is made of.

The errors that the contract allows are relative to the norms of the vectors that a number is the product of, so they
hold at any scale. Whether a suite is `exact` cannot be seen from outside beyond this: integers come out as themselves
once rounded, each time. A suite that claims no more than an approximation may do so too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.contract import (
    DIMENSIONS,
    KINDS,
    OTHER_SESSION,
    SESSION,
    TOLERANCE,
    CovarianceSession,
    Dimensions,
    Exchange,
    HeadSession,
    alterations,
    child_processes,
    equal_share,
    logit_bound,
    logit_error,
    product_error,
    shows,
    wrong_lengths,
)
from support.pools import NONCE
from support.toy import TOY, TOY_76

from securealign.errors import CiphertextError, ErrorCode, InputError, LocalProtocolError, SecurealignError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, EncryptedRows, Suite
from securealign.he.lwe.suite import LweSuite
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, get_suite
from securealign.limits import MAX_CHUNK_BYTES, MEBIBYTE
from securealign.matrices import Rows

#: Names of suites, separated by commas, that must be available: a test of them fails instead of being skipped.
REQUIRED = "SECUREALIGN_REQUIRE_SUITES"
#: Where the claim that answers hide the provider's operand is attacked, by the name of a suite.
FUNCTION_PRIVACY_TESTS = {"lwe": "security/test_lwe_function_privacy.py"}
PLAINTEXT = "plaintext"
#: Suites on native libraries, which have an environment of their own.
NATIVE = ("openfhe-ckks", "tenseal-ckks")
#: Seconds after which a call counts as hanging; honest ones take a few, and longer on a busy machine.
HANGING = 1_800
#: Largest result that a test of a suite with large ciphertexts asks for.
LARGEST_RESULT = 64 * MEBIBYTE


@dataclass(frozen=True)
class Case:
    """A suite under test."""

    make: Callable[[], Suite]
    #: Whether ciphertexts hide what they hold. A toy does, under a key that is too short to claim any security.
    hides: bool
    #: Whether sessions cost next to nothing, so that more is tried.
    cheap: bool


def require(name: str, reason: str) -> None:
    """Skip a test, or fail it when the environment asks for the suite, for a `reason` that is not empty."""
    if reason and name in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"The suite {name!r} is required here: {reason}")
    if reason:
        pytest.skip(reason)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def marked(name: str) -> object:
    """Mark a suite whose sessions take seconds; the toy has the code of lwe and small parameters."""
    marks = [] if name == PLAINTEXT else [pytest.mark.thorough]
    return pytest.param(name, marks=[*marks, pytest.mark.native] if name in NATIVE else marks)


@pytest.fixture(scope="class", params=["toy", *(marked(name) for name in REGISTRY if name != DEFAULT_SUITE)])
def case(request):
    if request.param == "toy":
        return Case(lambda: LweSuite(TOY), hides=True, cheap=True)
    entry = REGISTRY[request.param]
    require(request.param, entry.unavailable())
    encrypts = entry.make().info.encrypts
    return Case(entry.make, hides=encrypts, cheap=not encrypts)


@pytest.fixture(scope="class")
def suite(case):
    return case.make()


@pytest.fixture(scope="class")
def exchange(suite):
    with closing(Exchange(suite)) as exchange:
        yield exchange


@pytest.fixture(scope="class")
def twin(suite):
    """The same numbers in a session of the same name, under another key."""
    with closing(Exchange(suite)) as exchange:
        yield exchange


@pytest.fixture(scope="class")
def several_pieces(suite):
    """A covariance in four pieces: the largest size is that of two rows."""
    with closing(CovarianceSession(suite, normal(1, 2, 3), normal(2, 2, 5))) as probe:
        max_bytes = len(probe.pieces[0].data)
    session = CovarianceSession(suite, normal(1, 7, 3), normal(2, 7, 5), max_bytes=max_bytes)
    with closing(session):
        yield session


@pytest.fixture(scope="class")
def strangers(suite):
    """Exchanges of the same shapes, in another session and under other parameters."""
    parameters = TOY_76 if suite.info.parameter_set == TOY.name else TOY
    with (
        closing(Exchange(suite, session=OTHER_SESSION)) as session,
        closing(Exchange(LweSuite(parameters))) as other,
    ):
        yield {"session": session, "parameters": other}


@pytest.fixture(autouse=True)
def _no_call_hangs() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise AssertionError(f"a suite did not answer within {HANGING} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANGING)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def covariance_error(suite: Suite, left: np.ndarray, right: np.ndarray) -> float:
    with closing(CovarianceSession(suite, left, right)) as session:
        assert len(session.key) <= suite.covariance_sizes(session.shape).key
        assert len(session.result) <= suite.covariance_sizes(session.shape).result
        return product_error(session.product, left, right)


def head_error(session: HeadSession, queries: np.ndarray) -> float:
    return logit_error(session.logits(queries), session.weight, session.bias, queries)


def columns_of_every_kind(seed: int, rows: int = 40) -> np.ndarray:
    columns = np.random.default_rng(seed).normal(size=(rows, 9))
    columns[:, 1] *= 1e30
    columns[:, 2] *= 1e-30
    columns[:, 3] = 0
    columns[7, 4] = 1e6
    columns[3:, 5] = 0
    columns[11] = 0
    columns[:, 6] = 3.0
    columns[:, 7] = -1e12
    return columns


def language_model_states(count: int, features: int = 512, outliers: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """States of which a few dimensions are 100 times as large as the rest, and the size of each dimension."""
    sizes = np.ones(features)
    sizes[:outliers] = 100
    return normal(3, count, features) * sizes, sizes


class TestContract:
    """Every suite, whatever it is made of."""

    # What it says of itself

    def test_it_describes_itself(self, case):
        info = case.make().info
        assert info == case.make().info
        assert info.name.isprintable()
        assert info.parameter_set.isprintable()
        assert len(info.parameter_digest) == 32
        assert info.quantum_bits <= info.classical_bits
        assert info.classical_bits == 0 or info.classical_bits >= 128

    def test_function_privacy_is_claimed_where_attacks_were_tried(self, case, suite):
        if suite.info.function_private:
            assert case.hides
            tests = Path(__file__).parent.parent / FUNCTION_PRIVACY_TESTS[suite.info.name]
            assert "def test_" in tests.read_text()

    def test_what_is_exact_gives_integers_each_time(self, suite):
        if not suite.info.exact:
            pytest.skip("an approximation promises the tolerance only")
        random = np.random.default_rng(1)
        left, right = (random.integers(-9, 10, size=(6, width)).astype(float) for width in (4, 3))
        for _ in range(3):
            with closing(CovarianceSession(suite, left, right)) as session:
                assert (np.rint(session.product) == left.T @ right).all()

    # Products

    @pytest.mark.parametrize(("rows", "left", "right"), [(1, 1, 1), (1, 7, 3), (33, 17, 1), (60, 31, 64)])
    def test_a_covariance_of_any_shape(self, suite, rows, left, right):
        assert covariance_error(suite, normal(1, rows, left), normal(2, rows, right)) <= TOLERANCE

    def test_a_covariance_of_large_models(self, suite):
        per_dimension = suite.covariance_sizes(CovarianceShape(rows=3, provider_dim=1, columns=1024)).result
        left = normal(1, 3, min(1536, LARGEST_RESULT // per_dimension))
        assert covariance_error(suite, left, normal(2, 3, 1024)) <= TOLERANCE
        assert covariance_error(suite, normal(3, 2, 2), normal(4, 2, 1536)) <= TOLERANCE

    def test_columns_of_every_kind_do_not_disturb_each_other(self, suite):
        assert covariance_error(suite, columns_of_every_kind(1), columns_of_every_kind(2)) <= TOLERANCE

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_embeddings_of_any_scale(self, suite, scale):
        assert covariance_error(suite, normal(1, 6, 3) * scale, normal(2, 6, 4) * scale) <= TOLERANCE

    def test_matrices_of_zeros(self, suite):
        assert covariance_error(suite, np.zeros((3, 2)), np.zeros((3, 2))) <= TOLERANCE

    # Logits

    @pytest.mark.parametrize(
        ("features", "classes", "slots", "count"), [(1, 1, 1, 1), (3, 2, 5, 5), (17, 3, 4, 6), (768, 150, 2, 1)]
    )
    def test_logits_of_any_shape(self, suite, features, classes, slots, count):
        with closing(HeadSession(suite, normal(1, features, classes), normal(2, classes), slots)) as session:
            assert head_error(session, normal(3, count, features)) <= TOLERANCE

    def test_the_largest_batch_fits_in_a_message_and_its_answer_in_the_declared_size(self, suite):
        weight, bias = normal(1, 1536, 3), normal(2, 3)
        with closing(HeadSession(suite, weight, bias, 100)) as session:
            count = min(session.sizes.batch, 100)
            queries = normal(3, count, 1536)
            query = session.encrypt(queries)
            answer = session.evaluate(query)
            assert len(session.key) <= session.sizes.key
            assert count == 1 or len(query.data) <= MAX_CHUNK_BYTES
            assert len(answer) <= session.sizes.answer
            assert logit_error(session.decrypt(query, answer), weight, bias, queries) <= TOLERANCE
            assert head_error(session, queries[:1]) <= TOLERANCE

    def test_a_retired_pool_takes_no_other_with_it(self, suite):
        with closing(HeadSession(suite, normal(1, 5, 3), normal(2, 3), 2)) as session:
            for pool in range(3):
                assert head_error(session, normal(pool, 2, 5)) <= TOLERANCE
                session.evaluator.retire(pool)

    def test_answers_are_decrypted_in_any_order(self, suite):
        weight, bias, queries = normal(1, 5, 3), normal(2, 3), normal(3, 4, 5)
        with closing(HeadSession(suite, weight, bias, 4)) as session:
            asked = [session.encrypt(queries[number : number + 1]) for number in range(4)]
            answers = [session.evaluate(query) for query in asked]
            for number in (2, 0, 3, 1):
                logits = session.decrypt(asked[number], answers[number])
                assert logit_error(logits, weight, bias, queries[number : number + 1]) <= TOLERANCE

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_queries_and_heads_of_any_scale(self, suite, scale):
        weight, bias = normal(1, 12, 4) / scale, normal(2, 4) / scale
        weight[:, 1], bias[1] = 0, 0
        weight[5] = 0
        with closing(HeadSession(suite, weight, bias, 8)) as session:
            queries = normal(3, 5, 12) * np.array([[1.0], [scale], [1 / scale], [0.0], [1.0]])
            queries[4, 2] = 1e6
            assert head_error(session, queries) <= TOLERANCE

    def test_a_head_of_zeros(self, suite):
        with closing(HeadSession(suite, np.zeros((4, 2)), np.zeros(2), 1)) as session:
            assert head_error(session, normal(1, 1, 4)) <= TOLERANCE

    @pytest.mark.parametrize(("weights", "typical"), [("of equal contribution", 3e-3), ("at random", 5e-4)])
    def test_states_with_outliers_have_errors_relative_to_their_norms(self, suite, weights, typical):
        """Outliers with small weights add to the norm and little to the logits, so the error beside a logit grows.

        `typical` is the root mean square of the error beside the deviation of the logits.
        """
        states, sizes = language_model_states(8)
        weight, bias = normal(1, states.shape[1], 6), normal(2, 6)
        if weights == "of equal contribution":
            weight /= sizes[:, None]
        with closing(HeadSession(suite, weight, bias, 8)) as session:
            logits = session.logits(states)
        expected = states @ weight + bias
        assert logit_error(logits, weight, bias, states) <= TOLERANCE
        assert np.sqrt(np.mean((logits - expected) ** 2)) <= typical * expected.std()
        ranked = np.sort(expected, axis=1)
        clear = ranked[:, -1] - ranked[:, -2] > 2 * TOLERANCE * logit_bound(weight, bias, states)[:, 0]
        assert clear.mean() > 0.5
        assert (logits.argmax(axis=1) == expected.argmax(axis=1))[clear].all()

    # What is refused before it travels

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("side", ["provider", "client"])
    def test_embeddings_that_are_not_finite_are_refused(self, suite, side, value):
        left, right = normal(1, 5, 2), normal(2, 5, 2)
        (left if side == "provider" else right)[3, 1] = value
        with pytest.raises(InputError) as refusal:
            covariance_error(suite, left, right)
        assert refusal.value.code is ErrorCode.NON_FINITE_INPUT

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_heads_that_are_not_finite_are_refused(self, suite, value):
        for weight, bias in ((np.full((3, 2), value), np.zeros(2)), (np.ones((3, 2)), np.array([value, 0]))):
            with pytest.raises(InputError) as refusal:
                HeadSession(suite, weight, bias, 1)
            assert refusal.value.code is ErrorCode.NON_FINITE_INPUT

    def test_queries_that_are_not_finite_are_refused_and_use_no_slot(self, exchange):
        encryptor, pool = exchange.head.encryptor, exchange.head.new_pool()
        encryptor.load_pool(pool, exchange.head.evaluator.prepare(pool, NONCE), NONCE)
        for value in (np.nan, np.inf):
            with pytest.raises(InputError) as refusal:
                encryptor.encrypt(pool, 0, np.full_like(exchange.queries, value))
            assert refusal.value.code is ErrorCode.NON_FINITE_INPUT
        answer = exchange.head.evaluator.evaluate(pool, 0, 1, encryptor.encrypt(pool, 0, exchange.queries))
        assert exchange.is_right("answer", encryptor.decrypt(pool, 0, answer))

    def test_a_slot_of_a_pool_with_content_masks_one_query(self, suite, exchange):
        if not suite.info.offline_phase:
            pytest.skip("without an offline phase, the randomness of a query is drawn for that query")
        encryptor, pool = exchange.head.encryptor, exchange.head.new_pool()
        encryptor.load_pool(pool, exchange.head.evaluator.prepare(pool, NONCE), NONCE)
        encryptor.encrypt(pool, 1, exchange.queries)
        with pytest.raises(LocalProtocolError):
            encryptor.encrypt(pool, 1, exchange.queries)

    # What travels

    def test_pools_hold_something_where_there_is_an_offline_phase(self, suite, exchange):
        assert bool(exchange.blobs["pool"]) is suite.info.offline_phase
        assert len(exchange.blobs["pool"]) <= exchange.head.sizes.pool

    def test_sizes_depend_on_nothing_but_the_shape(self, suite, exchange):
        with closing(Exchange(suite, scale=0.0)) as zeros:
            assert zeros.layout == exchange.layout

    def test_equal_inputs_are_encrypted_to_different_bytes(self, case, exchange, twin):
        for kind, blob in exchange.blobs.items():
            if not case.hides:
                # The negative control: without encryption, equal inputs show.
                assert blob == twin.blobs[kind]
            elif blob:
                assert equal_share(blob[HEADER_BYTES:], twin.blobs[kind][HEADER_BYTES:]) < 0.5

    def test_no_blob_shows_the_numbers_that_went_into_it(self, case, exchange):
        sources = {
            "rows": exchange.right,
            "result": exchange.left,
            "query": exchange.queries,
            "pool": exchange.weight,
            "answer": np.vstack([exchange.weight, exchange.bias]),
        }
        shown = [kind for kind, source in sources.items() if shows(exchange.blobs[kind], source)]
        assert shown == ([] if case.hides else ["rows", "query"])

    def test_pieces_follow_each_other_and_keep_to_the_largest_size(self, several_pieces):
        pieces = several_pieces.pieces
        assert len(pieces) > 2
        assert pieces[0].first == 0
        assert all(after.first == before.first + before.count for before, after in pairwise(pieces))
        assert sum(piece.count for piece in pieces) == several_pieces.shape.rows
        assert max(len(piece.data) for piece in pieces) <= several_pieces.max_bytes
        assert product_error(several_pieces.product, several_pieces.left, several_pieces.right) <= TOLERANCE

    # What arrives

    @pytest.mark.parametrize("order", [[1], [0, 0], [0, 2], [0, 1, 2, 3, 3]])
    def test_rows_out_of_order_are_refused(self, several_pieces, order):
        with several_pieces.evaluator() as evaluator:
            for number in order[:-1]:
                evaluator.absorb(several_pieces.pieces[number])
            with pytest.raises(CiphertextError):
                evaluator.absorb(several_pieces.pieces[order[-1]])

    @pytest.mark.parametrize("absorbed", [0, 3])
    def test_a_result_is_refused_while_rows_are_missing(self, several_pieces, absorbed):
        with several_pieces.evaluator() as evaluator:
            for piece in several_pieces.pieces[:absorbed]:
                evaluator.absorb(piece)
            with pytest.raises(CiphertextError):
                evaluator.finish()

    @pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**40])
    def test_rows_of_another_number_than_announced_are_refused(self, several_pieces, count):
        data = several_pieces.pieces[0].data if count else b""
        with several_pieces.evaluator() as evaluator, pytest.raises(CiphertextError):
            evaluator.absorb(EncryptedRows(0, count, data))

    @pytest.mark.parametrize("count", [-1, 0, 2, 2**31])
    def test_queries_of_another_number_than_announced_are_refused(self, exchange, count):
        with pytest.raises(CiphertextError):
            exchange.head.evaluator.evaluate(0, 0, count, exchange.blobs["query"])

    @pytest.mark.parametrize("kind", KINDS)
    def test_blobs_of_a_wrong_length_are_refused(self, exchange, kind):
        for number in range(len(wrong_lengths(exchange.blobs[kind]))):
            outcome = exchange.attempt(kind, lambda data, number=number: wrong_lengths(data)[number])
            assert isinstance(outcome, CiphertextError)

    @pytest.mark.parametrize("kind", KINDS)
    def test_altered_blobs_are_refused_or_give_numbers(self, case, exchange, kind):
        if not exchange.blobs[kind]:
            pytest.skip("without an offline phase, a pool holds nothing to alter")
        assert exchange.is_right(kind, exchange.attempt(kind, lambda data: data))
        for alter in alterations(200 if case.cheap else 6):
            exchange.attempt(kind, alter)

    def test_a_blob_of_one_kind_is_refused_as_another(self, case, exchange):
        kinds = [kind for kind in KINDS if exchange.blobs[kind]]
        for shift in range(1, len(kinds)) if case.cheap else (1, 3):
            for number, kind in enumerate(kinds):
                other = exchange.blobs[kinds[number - shift]]
                outcome = exchange.attempt(kind, lambda _, other=other: other)
                assert isinstance(outcome, CiphertextError) or not case.hides

    def test_what_another_key_made_is_refused_or_gives_nothing_right(self, case, exchange, twin):
        for kind in KINDS:
            blob = twin.blobs[kind]
            outcome = exchange.attempt(kind, lambda _, blob=blob: blob)
            refused = isinstance(outcome, SecurealignError)
            # The negative control: where there is no key, what a stranger made is as good.
            assert (refused or not exchange.is_right(kind, outcome)) is (case.hides and bool(blob))

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_another_session_made_is_refused(self, case, strangers, exchange, kind):
        blob = strangers["session"].blobs[kind]
        if case.hides and blob:
            assert isinstance(exchange.attempt(kind, lambda _: blob), CiphertextError)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_other_parameters_made_is_refused(self, strangers, exchange, kind):
        if exchange.blobs[kind]:
            blob = strangers["parameters"].blobs[kind]
            assert isinstance(exchange.attempt(kind, lambda _: blob), CiphertextError)

    def test_what_was_made_for_another_shape_is_refused_or_gives_numbers(self, case, suite, exchange):
        fields = [*Dimensions._fields] if case.cheap else []
        shapes = [DIMENSIONS._replace(**{name: getattr(DIMENSIONS, name) + 1}) for name in fields]
        for shape in [Dimensions(6, 4, 3, 5, 3, 7), *shapes]:
            with closing(Exchange(suite, shape)) as stranger:
                for kind in KINDS:
                    blob = stranger.blobs[kind]
                    exchange.attempt(kind, lambda _, blob=blob: blob)

    def test_an_honest_session_works_after_others_were_attacked(self, suite, exchange):
        for kind in KINDS:
            exchange.attempt(kind, lambda data: bytes(len(data)))
        with closing(Exchange(suite)) as honest:
            assert honest.is_right("result", honest.receive("result", honest.blobs["result"]))
            assert honest.is_right("answer", honest.receive("answer", honest.blobs["answer"]))

    def test_sessions_at_the_same_time_do_not_disturb_each_other(self, exchange, twin):
        for session in (exchange, twin, exchange):
            for kind in ("rows", "query"):
                assert session.is_right(kind, session.receive(kind, session.blobs[kind]))

    # The end

    def test_closing_releases_processes_at_any_time_and_twice(self, suite):
        Exchange(suite).close()
        before = child_processes()
        for used in (False, True):
            covariance = CovarianceSession(suite, normal(1, 4, 2), normal(2, 4, 2))
            evaluator = suite.covariance_evaluator(covariance.shape, SESSION, Rows(normal(1, 4, 2)), SystemEntropy())
            head = HeadSession(suite, normal(1, 3, 2), normal(2, 2), 2)
            fresh = head.new_evaluator()
            if used:
                next(covariance.encryptor.encrypt(MAX_CHUNK_BYTES))
                evaluator.accept_key(covariance.key)
                head.encrypt(normal(1, 1, 3))
            for party in (covariance.encryptor, evaluator, head.encryptor, head.evaluator, fresh):
                party.close()
                party.close()
            assert child_processes() == before


# The contract itself


def test_a_required_suite_that_is_unavailable_fails(monkeypatch):
    monkeypatch.setenv(REQUIRED, "one,other")
    with pytest.raises(pytest.fail.Exception, match="'other' is required here: no wheel"):
        require("other", "no wheel")
    with pytest.raises(pytest.skip.Exception, match="no wheel"):
        require("third", "no wheel")
    require("other", "")


def test_required_suites_are_registered():
    assert set(filter(None, os.environ.get(REQUIRED, "").split(","))) <= set(REGISTRY)


def test_the_default_is_one_of_the_suites_under_test():
    assert get_suite(DEFAULT_SUITE).info == get_suite(get_suite(DEFAULT_SUITE).info.parameter_set).info


def test_available_suites_are_told_apart_by_their_digests():
    suites = [entry.make() for name, entry in REGISTRY.items() if name != DEFAULT_SUITE and not entry.unavailable()]
    digests = {suite.info.parameter_digest for suite in suites} | {LweSuite(TOY).info.parameter_digest}
    assert len(digests) == len(suites) + 1


def test_an_error_above_the_tolerance_is_noticed_in_every_entry():
    left, right = columns_of_every_kind(1), columns_of_every_kind(2)
    exact = left.T @ right
    assert product_error(exact, left, right) == 0
    norms = np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)
    for entry in np.ndindex(exact.shape):
        wrong = exact.copy()
        wrong[entry] += 2 * TOLERANCE * norms[entry] + 1e-70
        assert product_error(wrong, left, right) > TOLERANCE
    assert product_error(left.T @ np.roll(right, 1, axis=0), left, right) > TOLERANCE
    assert not product_error(np.full_like(exact, np.nan), left, right) <= TOLERANCE


def test_an_error_above_the_tolerance_is_noticed_in_every_logit():
    weight, bias, queries = normal(1, 5, 3), normal(2, 3), normal(3, 4, 5)
    exact = queries @ weight + bias
    assert logit_error(exact, weight, bias, queries) == 0
    for entry in np.ndindex(exact.shape):
        wrong = exact.copy()
        wrong[entry] += 2 * TOLERANCE * logit_bound(weight, bias, queries)[entry[0], 0]
        assert logit_error(wrong, weight, bias, queries) > TOLERANCE
    assert logit_error(queries @ weight, weight, bias, queries) > TOLERANCE
