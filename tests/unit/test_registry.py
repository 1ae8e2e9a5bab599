"""Suites by name, and the contract that each of them keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from securealign.errors import CiphertextError, ErrorCode, ExitCode, SuiteError
from securealign.he import registry
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, EncryptedRows, HeadShape
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, Entry, get_suite
from securealign.matrices import Rows

SESSION = bytes(range(32))
ENTROPY = SystemEntropy()
COVARIANCE = CovarianceShape(rows=7, provider_dim=3, client_dim=2)
HEAD = HeadShape(features=3, classes=2, slots=3)


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(SuiteError) as caught:
        get_suite("rot13")
    assert caught.value.code is ErrorCode.SUITE_UNKNOWN
    assert "'rot13'" in caught.value.message
    assert all(name in caught.value.hint for name in REGISTRY)


@pytest.mark.parametrize("name", ["", "LWE", " lwe", "lwe-"])
def test_names_are_exact(name):
    with pytest.raises(SuiteError, match="no suite named"):
        get_suite(name)


def test_a_suite_that_cannot_run_here_says_why(monkeypatch):
    def make():
        raise AssertionError("an unavailable suite is never made")

    entry = Entry(make, "a suite", unavailable=lambda: "its wheel is for Python 3.10.")
    monkeypatch.setattr(registry, "REGISTRY", {**REGISTRY, "other": entry})
    with pytest.raises(SuiteError, match=r"'other' cannot run here: its wheel is for Python 3\.10\.") as caught:
        get_suite("other")
    assert caught.value.code is ErrorCode.SUITE_UNAVAILABLE
    assert caught.value.code.exit_code is ExitCode.UNAVAILABLE
    assert get_suite("plaintext").info.name == "plaintext"


def test_the_default_encrypts_and_is_a_parameter_set_under_a_shorter_name():
    info = get_suite(DEFAULT_SUITE).info
    assert info.encrypts
    assert get_suite(info.parameter_set).info == info


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        REGISTRY["mine"] = REGISTRY["lwe"]


def test_parameter_sets_are_told_apart_by_their_digests():
    digests = {name: get_suite(name).info.parameter_digest for name in REGISTRY if name != DEFAULT_SUITE}
    assert len(set(digests.values())) == len(digests)


@pytest.fixture(params=[name for name in REGISTRY if name != DEFAULT_SUITE])
def suite(request):
    return get_suite(request.param)


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


@pytest.fixture
def covariance(suite, matrices):
    """Both sides of a covariance after the key has travelled."""
    encryptor = suite.covariance_encryptor(COVARIANCE, SESSION, Rows(matrices[1]), ENTROPY)
    evaluator = suite.covariance_evaluator(COVARIANCE, SESSION, Rows(matrices[0]), ENTROPY)
    evaluator.accept_key(encryptor.key_material())
    return encryptor, evaluator


@pytest.fixture
def head(suite):
    """Both sides of a head after the key has travelled, and the head."""
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(3, 2)), rng.normal(size=2)
    encryptor = suite.head_encryptor(HEAD, SESSION, ENTROPY)
    evaluator = suite.head_evaluator(HEAD, SESSION, weight, bias, ENTROPY)
    evaluator.accept_key(encryptor.key_material())
    return encryptor, evaluator, weight, bias


class TestContract:
    """What the protocol relies on, for every suite that is registered."""

    def test_it_describes_itself(self, suite):
        info = suite.info
        assert info.name.isprintable()
        assert info.parameter_set.isprintable()
        assert len(info.parameter_digest) == 32
        assert info.encrypts == (info.classical_bits > 0)
        assert info.quantum_bits <= info.classical_bits
        assert not (info.function_private and not info.encrypts)
        assert dataclasses.asdict(info) == dataclasses.asdict(suite.info)

    def test_a_covariance_is_the_product_and_keeps_to_its_sizes(self, suite, covariance, matrices):
        encryptor, evaluator = covariance
        sizes = suite.covariance_sizes(COVARIANCE)
        assert 0 < len(encryptor.key_material()) <= sizes.key
        pieces = list(encryptor.encrypt(1 << 16))
        assert all(len(piece.data) <= 1 << 16 for piece in pieces)
        expected = 0
        for piece in pieces:
            assert piece.first == expected
            expected += piece.count
            evaluator.absorb(piece)
        assert expected == COVARIANCE.rows
        result = evaluator.finish()
        assert len(result) <= sizes.result
        assert np.allclose(encryptor.decrypt(result), matrices[0].T @ matrices[1], atol=0.01)

    def test_a_head_gives_logits_in_every_slot_and_keeps_to_its_sizes(self, suite, head):
        encryptor, evaluator, weight, bias = head
        sizes = suite.head_sizes(HEAD)
        assert 0 < len(encryptor.key_material()) <= sizes.key
        assert sizes.batch >= 1
        queries = np.random.default_rng(2).normal(size=(HEAD.slots, HEAD.features))
        for pool in (0, 1):
            material = evaluator.prepare(pool)
            assert len(material) <= sizes.pool
            assert bool(material) == suite.info.offline_phase
            encryptor.load_pool(pool, material)
            for first, stop in ((0, 1), (1, 3)):
                query = encryptor.encrypt(pool, first, queries[first:stop])
                answer = evaluator.evaluate(pool, first, stop - first, query)
                logits = encryptor.decrypt(pool, first, answer)
                assert np.allclose(logits, queries[first:stop] @ weight + bias, atol=0.01)
            evaluator.retire(pool)

    @pytest.mark.parametrize("cut", [lambda data: b"", lambda data: data[:-1], lambda data: data + b"\0"])
    def test_keys_rows_and_results_of_a_wrong_length_are_refused(self, suite, covariance, matrices, cut):
        encryptor, evaluator = covariance
        fresh = suite.covariance_evaluator(COVARIANCE, SESSION, Rows(matrices[0]), ENTROPY)
        with pytest.raises(CiphertextError):
            fresh.accept_key(cut(encryptor.key_material()))
        piece = next(encryptor.encrypt(1 << 16))
        with pytest.raises(CiphertextError):
            evaluator.absorb(EncryptedRows(piece.first, piece.count, cut(piece.data)))
        evaluator.absorb(piece)
        with pytest.raises(CiphertextError):
            encryptor.decrypt(cut(evaluator.finish()))

    @pytest.mark.parametrize("cut", [lambda data: data[:-1], lambda data: data + b"\0"])
    def test_queries_and_answers_of_a_wrong_length_are_refused(self, head, cut):
        encryptor, evaluator, _, _ = head
        encryptor.load_pool(0, evaluator.prepare(0))
        query = encryptor.encrypt(0, 0, np.ones((1, HEAD.features)))
        with pytest.raises(CiphertextError):
            evaluator.evaluate(0, 0, 1, cut(query))
        with pytest.raises(CiphertextError):
            encryptor.decrypt(0, 0, cut(evaluator.evaluate(0, 0, 1, query)))

    def test_a_query_hides_its_values_where_the_suite_encrypts(self, suite, head):
        encryptor, evaluator, _, _ = head
        encryptor.load_pool(0, evaluator.prepare(0))
        value = 7.310585786300049
        query = encryptor.encrypt(0, 0, np.full((1, HEAD.features), value))
        assert (np.float64(value).tobytes() in query) is not suite.info.encrypts

    def test_no_evaluator_has_a_way_to_decrypt(self, covariance, head):
        for encryptor, evaluator in (covariance, head[:2]):
            assert hasattr(encryptor, "decrypt")
            assert not hasattr(evaluator, "decrypt")
            assert not hasattr(evaluator, "encrypt")
