"""Label-only answers end to end: the client learns the label of a query, and the suite sends what its sizes say."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.labels import LabelPair
from support.pools import NONCE
from support.toy import SESSION, TOY, TOY_76

from securealign.errors import CiphertextError, ErrorCode, KeyStoreError, LocalProtocolError, SuiteError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.interface import HeadShape, LabelSecrets, LabelTerms
from securealign.he.lwe.label_plan import LabelBudget, label_plan
from securealign.he.lwe.parameters import LWE_128, LWE_128Q
from securealign.he.lwe.planner import BitBudget
from securealign.he.lwe.suite import LweSuite

SHAPE = HeadShape(provider_dim=7, classes=5, slots=20, labels=LabelTerms())


def head(features: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(features, classes)), random.normal(size=classes)


def queries(count: int, features: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def clearest(pair: LabelPair, asked: np.ndarray, margin: float = 0.01) -> np.ndarray:
    """Queries whose two largest logits differ by more than truncation can change."""
    logits = np.sort(asked @ pair.weight + pair.bias, axis=1)
    return asked[logits[:, -1] - logits[:, -2] > margin * np.abs(logits).max()]


@pytest.fixture(scope="module")
def loaded() -> LabelPair:
    """A pair with pool 0 loaded: copied by whoever changes it."""
    pair = LabelPair(*head(7, 5), slots=20)
    pair.load()
    return pair


@pytest.fixture
def pair(loaded: LabelPair) -> LabelPair:
    """The state of the loaded pair, with pools of its own."""
    fresh = copy.copy(loaded)
    fresh.encryptor, fresh.evaluator = copy_of(loaded.encryptor), copy_of(loaded.evaluator)
    return fresh


def copy_of(party):
    """A shallow copy whose bookkeeping is independent; keys and circuits are shared."""
    made = copy.copy(party)
    for name, value in vars(party).items():
        if isinstance(value, dict | set):
            setattr(made, name, copy.copy(value))
    if hasattr(made, "_choosing"):
        made._choosing = {pool: copy.copy(state) for pool, state in made._choosing.items()}
        made._pools = {pool: s._replace(queries=dict(s.queries), used=set(s.used)) for pool, s in made._pools.items()}
    return made


@pytest.mark.parametrize(
    ("classes", "terms", "parameters"),
    [
        (2, LabelTerms(), TOY),
        (3, LabelTerms(segments=1), TOY),
        (6, LabelTerms(bits=20), TOY),
        (9, LabelTerms(bits=15), TOY_76),
    ],
)
def test_labels_are_those_of_the_logits_in_batches_across_blocks(classes, terms, parameters):
    pair = LabelPair(*head(7, classes), slots=40, terms=terms, parameters=parameters)
    pair.load()
    asked = clearest(pair, queries(60, 7))[:40]
    got = np.vstack([pair.ask(asked[first:stop], first) for first, stop in ((0, 1), (1, 21), (21, 40))])
    assert (got[:, 0] == (asked @ pair.weight + pair.bias).argmax(axis=1)).all()
    assert (got[:, 1] == 0).all()


def test_an_abstaining_class_and_thresholds_of_confidence():
    weight, bias = head(7, 4)
    weight, bias = np.hstack([weight, np.zeros((7, 1))]), np.append(bias, 1.5)
    thresholds = (0.5, 2.0, 3.0)
    pair = LabelPair(weight, bias, 64, LabelTerms(buckets=3), thresholds)
    pair.load()
    asked = queries(64, 7)
    logits = asked @ weight + bias
    got = pair.ask(asked)
    largest = logits[:, :-1].max(axis=1)
    away = np.abs(largest[:, None] - [*thresholds, 1.5]).min(axis=1) > 0.01
    assert away.sum() > 50
    assert (got[away, 1] == (largest[:, None] > thresholds).sum(axis=1)[away]).all()
    assert (got[away, 0] == logits.argmax(axis=1)[away]).mean() > 0.95
    assert {4.0} < set(got[:, 0])


@pytest.mark.thorough
def test_real_parameters():
    pair = LabelPair(*head(5, 3), slots=4, parameters=LWE_128)
    pair.load()
    asked = clearest(pair, queries(12, 5))[:4]
    assert (pair.ask(asked)[:, 0] == (asked @ pair.weight + pair.bias).argmax(axis=1)).all()


@pytest.mark.parametrize("kept_free", [True, False])
def test_the_largest_difference_of_all_does_not_leave_the_modulus(kept_free, monkeypatch):
    """A query along the operand: Cauchy-Schwarz with equality. Without room for one unit of truncation, shares wrap."""
    if not kept_free:
        monkeypatch.setattr(LabelBudget, "message_norm", BitBudget.message_norm)
    shape = HeadShape(provider_dim=1, classes=2, slots=16, labels=LabelTerms(bits=8))
    # Scales are powers of two: both norms lie just below one of their limit. A query ends with 1.
    norm = np.ldexp(label_plan(TOY, shape).message_norm, -77) * (1 - 2**-40) * 2**20
    query = np.sqrt(norm**2 - 1)
    bias = 100_000 / norm * (1 - 2**-40)
    pair = LabelPair(np.array([[query * bias, 0.0]]), np.array([bias, 0.0]), 16, LabelTerms(bits=8))
    pair.load()
    labels = pair.ask(np.full((16, 1), query))[:, 0]
    assert (labels == 0).all() == kept_free


def test_many_pools_under_one_key(pair):
    asked = clearest(pair, queries(30, 7))[:20]
    for pool in (1, 2):
        pair.load(pool, bytes([pool]) * 32)
        assert (pair.ask(asked, pool=pool)[:, 0] == (asked @ pair.weight + pair.bias).argmax(axis=1)).all()
        pair.evaluator.retire(pool)
        with pytest.raises(CiphertextError):
            pair.evaluator.evaluate(pool, 0, 1, b"")


def test_sizes_are_exact(pair):
    suite = LweSuite(TOY)
    sizes = suite.head_sizes(SHAPE)
    hint = pair.evaluator.prepare(7, NONCE)
    pair.encryptor.load_pool(7, hint, NONCE)
    choices = pair.encryptor.choose(7)
    tables = b"".join(pair.evaluator.garble(7, choices))
    pair.encryptor.load_tables(7, tables)
    query = pair.encryptor.encrypt(7, 0, queries(20, 7))
    answer = pair.evaluator.evaluate(7, 0, 20, query)
    assert [len(data) for data in (pair.evaluator.offer(), pair.encryptor.key_material(), hint, choices, tables)] == [
        sizes.offer,
        sizes.key,
        sizes.pool,
        sizes.choices,
        sizes.tables,
    ]
    layout = pair.encryptor._plan.layout
    forecast = suite.head_forecast(SHAPE)
    assert len(answer) == HEADER_BYTES + layout.answer_bytes(20)
    assert abs(len(answer) - forecast.answer_header_bytes - 20 * forecast.answer_bytes) < 20
    assert sizes.answer_bits == 3
    assert suite.info.label_only
    assert pair.encryptor.head_norm == 0
    assert {"choose", "garble", "load_tables"} < set(forecast.work)


def test_the_choices_and_the_tables_of_a_pool_are_made_once(pair):
    pair.encryptor.load_pool(1, pair.evaluator.prepare(1, NONCE), NONCE)
    for early in (pair.encryptor.load_tables, pair.evaluator.garble):
        with pytest.raises(LocalProtocolError):
            early(2, b"")
    with pytest.raises(LocalProtocolError):
        pair.encryptor.load_tables(1, b"")
    with pytest.raises(LocalProtocolError):
        pair.encryptor.encrypt(1, 0, queries(1, 7))
    with pytest.raises(LocalProtocolError):
        pair.encryptor.choose(2)
    choices = pair.encryptor.choose(1)
    with pytest.raises(LocalProtocolError):
        pair.encryptor.choose(1)
    tables = b"".join(pair.evaluator.garble(1, choices))
    with pytest.raises(LocalProtocolError):
        pair.evaluator.garble(1, choices)
    pair.encryptor.load_tables(1, tables)
    with pytest.raises(LocalProtocolError):
        pair.encryptor.load_tables(1, tables)


def test_malformed_bytes_are_refused(pair):
    hint = pair.evaluator.prepare(1, NONCE)
    scaled = hint[:HEADER_BYTES] + b"\1" + hint[HEADER_BYTES + 1 :]
    with pytest.raises(CiphertextError) as refused:
        copy_of(pair.encryptor).load_pool(1, scaled, NONCE)
    assert refused.value.code is ErrorCode.COEFFICIENT_OUT_OF_RANGE
    pair.encryptor.load_pool(1, hint, NONCE)
    choices = pair.encryptor.choose(1)
    for wrong in changed(choices):
        evaluator = copy_of(pair.evaluator)
        with pytest.raises(CiphertextError):
            evaluator.garble(1, wrong)
        with pytest.raises(LocalProtocolError):  # A pool is lost with its first choices.
            evaluator.garble(1, choices)
    tables = b"".join(pair.evaluator.garble(1, choices))
    for wrong in changed(tables):
        with pytest.raises(CiphertextError):
            pair.encryptor.load_tables(1, wrong)
    pair.encryptor.load_tables(1, tables)
    answer = pair.evaluator.evaluate(1, 0, 1, pair.encryptor.encrypt(1, 0, queries(1, 7)))
    for wrong in changed(answer):
        with pytest.raises(CiphertextError):
            pair.encryptor.decrypt(1, 0, wrong)
    assert pair.encryptor.decrypt(1, 0, answer).shape == (1, 2)
    key = pair.encryptor.key_material()
    for wrong in changed(key):
        with pytest.raises(CiphertextError):
            copy_of(pair.evaluator).accept_key(wrong)


def changed(data: bytes) -> list[bytes]:
    """Shorter, longer, empty, and with another header."""
    return [data[:-1], data + b"\0", b"", data[:24] + bytes([data[24] ^ 1]) + data[25:]]


def test_an_index_that_names_no_class_is_nan(pair):
    query = pair.encryptor.encrypt(0, 0, queries(20, 7))
    answer = bytearray(pair.evaluator.evaluate(0, 0, 20, query))
    for byte in range(1, 9):
        answer[-byte] ^= 0xFF
    labels = pair.encryptor.decrypt(0, 0, bytes(answer))[:, 0]
    assert np.isnan(labels).any()
    assert (labels[~np.isnan(labels)] < 5).all()


def test_a_restarted_client_reads_answers_that_were_due_and_encrypts_nothing():
    pair = LabelPair(*head(7, 5), slots=20)
    hint = pair.evaluator.prepare(0, NONCE)
    pair.encryptor.load_pool(0, hint, NONCE)
    tables = b"".join(pair.evaluator.garble(0, pair.encryptor.choose(0)))
    pair.encryptor.load_tables(0, tables)
    asked = clearest(pair, queries(30, 7))[:12]
    answers = {}
    for first, stop in ((0, 3), (3, 12)):
        query = pair.encryptor.encrypt(0, first, asked[first:stop])
        answers[first] = pair.evaluator.evaluate(0, first, stop - first, query)
    scales = {first: pair.encryptor.query_scales(0, first) for first in answers}

    restarted = pair.new_encryptor()
    assert restarted.key_material() == pair.encryptor.key_material()
    restarted.restore_pool(0, hint, NONCE, scales)
    with pytest.raises(LocalProtocolError):
        restarted.choose(0)
    restarted.load_tables(0, tables)
    with pytest.raises(LocalProtocolError):
        restarted.encrypt(0, 12, asked[:1])
    labels = np.vstack([restarted.decrypt(0, first, answer) for first, answer in answers.items()])
    assert (labels[:, 0] == (asked @ pair.weight + pair.bias).argmax(axis=1)).all()
    # The tables are large: they leave with the last answer.
    with pytest.raises(LocalProtocolError):
        restarted.decrypt(0, 0, answers[0])


def test_a_restarted_provider_makes_the_same_offer_and_the_same_tables():
    pair = LabelPair(*head(7, 5), slots=20)
    pair.encryptor.load_pool(0, pair.evaluator.prepare(0, NONCE), NONCE)
    before = pair.evaluator.checkpoint(0)
    choices = pair.encryptor.choose(0)
    tables = b"".join(pair.evaluator.garble(0, choices))
    after = pair.evaluator.checkpoint(0)
    pair.encryptor.load_tables(0, tables)
    query = pair.encryptor.encrypt(0, 0, queries(3, 7))
    answer = pair.evaluator.evaluate(0, 0, 3, query)

    def restarted(state: bytes):
        evaluator = pair.new_evaluator()
        assert evaluator.offer() == pair.evaluator.offer()
        evaluator.accept_key(pair.encryptor.key_material())
        evaluator.restore_pool(0, state)
        return evaluator

    evaluator = restarted(after)
    assert evaluator.evaluate(0, 0, 3, query) == answer
    assert b"".join(evaluator.garble(0, choices)) == tables
    assert evaluator.checkpoint(0) == after
    another = restarted(after)
    with pytest.raises(CiphertextError) as refused:
        another.garble(0, choices[:-1] + bytes([choices[-1] ^ 1]))
    assert refused.value.code is ErrorCode.SEQUENCE_BROKEN
    ungarbled = restarted(before)
    with pytest.raises(CiphertextError):
        ungarbled.evaluate(0, 0, 3, query)
    list(ungarbled.garble(0, choices))
    assert ungarbled.evaluate(0, 0, 3, query) != answer
    for state in (before[:-1], after[:-1], after + b"\0", b""):
        with pytest.raises(KeyStoreError):
            pair.new_evaluator().restore_pool(0, state)


def test_shapes_that_have_no_labels_are_refused():
    def plan(code: ErrorCode, parameters=TOY, **changes) -> None:
        with pytest.raises(SuiteError) as refused:
            LweSuite(parameters).head_sizes(HeadShape(**{**vars(SHAPE), **changes}))
        assert refused.value.code is code
        assert refused.value.hint

    LweSuite(LWE_128).head_sizes(SHAPE)
    plan(ErrorCode.OUTPUT_REFUSED, LWE_128Q)
    assert not LweSuite(LWE_128Q).info.label_only
    plan(ErrorCode.OUTPUT_REFUSED, classes=1)
    plan(ErrorCode.OUTPUT_REFUSED, logit_bits=8)
    for terms in (LabelTerms(bits=7), LabelTerms(bits=25), LabelTerms(segments=3), LabelTerms(buckets=4)):
        plan(ErrorCode.OUTPUT_REFUSED, labels=terms)
    plan(ErrorCode.PLAN_INFEASIBLE, slots=1025)
    plan(ErrorCode.PLAN_INFEASIBLE, classes=4096, labels=LabelTerms(bits=24))


def test_label_terms_and_label_secrets_come_together(pair):
    suite, secrets = LweSuite(TOY), LabelSecrets(transfer_seed=bytes(32))
    args = SESSION, pair.weight, pair.bias, SeededEntropy(b"")
    with pytest.raises(LocalProtocolError):
        suite.head_evaluator(SHAPE, *args)
    with pytest.raises(LocalProtocolError):
        suite.head_evaluator(HeadShape(provider_dim=7, classes=5, slots=20), *args, labels=secrets)
    with pytest.raises(LocalProtocolError):
        suite.head_evaluator(SHAPE, *args, labels=LabelSecrets(transfer_seed=bytes(32), thresholds=(0.0,)))


def test_closing_forgets_keys(pair):
    pair.encryptor.close()
    pair.evaluator.close()
    with pytest.raises(AttributeError):
        pair.encryptor.key_material()
    assert not pair.evaluator._garbled
