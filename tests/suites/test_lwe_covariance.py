"""Training end to end: the client decrypts Z_A^T Z_B, whatever shape, scale or source the matrices have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.entropy import SeededEntropy
from support.toy import TOY, TOY_76, ToySuite, predicted_error

from securealign.errors import InputError, LocalProtocolError
from securealign.he.interface import CovarianceShape
from securealign.he.lwe.covariance import covariance_plan
from securealign.he.lwe.suite import LweSuite
from securealign.matrices import Affine, MappedRows, Rows


def normal(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def assert_close(decrypted, left, right, parameters=TOY):
    """Within 5.5 standard deviations of what the plan promises, entry by entry."""
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    shape = CovarianceShape(rows=len(left), provider_dim=left.shape[1], columns=right.shape[1])
    predicted = predicted_error(covariance_plan(parameters, shape).relative_error, left, right)
    assert decrypted.shape == predicted.shape
    assert (np.abs(decrypted - left.T @ right) <= 5.5 * predicted).all()


@pytest.mark.parametrize(
    ("rows", "left", "right"),
    [
        (2047, 2, 3),
        (2048, 3, 2),
        (2049, 1, 1),
        (3000, 40, 30),
        (4097, 2, 2),
    ],
)
def test_rows_around_whole_tiles(rows, left, right):
    a, b = normal(1, rows, left), normal(2, rows, right)
    assert_close(ToySuite().covariance(a, b), a, b)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 6), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_product_does_not_depend_on_the_pieces(rows, left, right, piece_rows, seed):
    a, b = normal(seed, rows, left), normal(seed + 1, rows, right)
    whole = ToySuite().covariance(a, b)
    assert_close(whole, a, b)
    assert (ToySuite().covariance(a, b, piece_bytes=72 + piece_rows * right * 10) == whole).all()


def test_pieces_cross_tiles():
    a, b = normal(1, 4500, 2), normal(2, 4500, 2)
    whole = ToySuite().covariance(a, b)
    assert_close(whole, a, b)
    assert (ToySuite().covariance(a, b, piece_bytes=72 + 1000 * 20) == whole).all()


def test_a_modulus_that_does_not_fill_its_bytes():
    a, b = normal(1, 2100, 3), normal(2, 2100, 4)
    assert_close(ToySuite(TOY_76).covariance(a, b), a, b, TOY_76)


def test_single_precision_input():
    a, b = normal(1, 100, 5).astype(np.float32), normal(2, 100, 4).astype(np.float32)
    assert_close(ToySuite().covariance(a, b), a, b)


def test_integer_input():
    a = np.arange(12).reshape(4, 3)
    assert_close(ToySuite().covariance(a, a), a, a)


def test_memory_mapped_input(tmp_path):
    values = normal(1, 2500, 6)
    np.save(tmp_path / "rows.npy", values)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert (ToySuite().covariance(mapped, mapped) == ToySuite().covariance(values, values)).all()


def test_centred_rows_with_a_constant_column():
    a, b = normal(1, 40, 3) + 5, normal(2, 40, 2) + 7
    constant = Affine(np.zeros(2), np.eye(2, 3), np.array([0.0, 0.0, 1.0]))
    left = MappedRows(Rows(a), Affine(a.mean(axis=0), np.eye(3), np.zeros(3)).apply)
    right = MappedRows(Rows(b), constant.apply, columns=3)
    shape = CovarianceShape(rows=40, provider_dim=3, columns=3)
    suite = LweSuite(TOY)
    encryptor = suite.covariance_encryptor(shape, b"session", right, SeededEntropy(b"client"))
    evaluator = suite.covariance_evaluator(shape, b"session", left, SeededEntropy(b"provider"))
    evaluator.accept_key(encryptor.key_material())
    for rows in encryptor.encrypt(1 << 16):
        evaluator.absorb(rows)
    clear = np.hstack([b, np.ones((40, 1))])
    assert_close(encryptor.decrypt(evaluator.finish()), a - a.mean(axis=0), clear)


@pytest.mark.parametrize("value", [-1e200, 1e200])
@pytest.mark.parametrize("side", ["provider", "client"])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_that_cannot_be_scaled_are_refused_before_anything_is_sent(value, side):
    a, b = normal(1, 5, 2), normal(2, 5, 2)
    (a if side == "provider" else b)[3, 1] = value
    with pytest.raises(InputError):
        ToySuite().covariance_pair(a, b)


def test_rows_cannot_be_encrypted_twice():
    encryptor, _ = ToySuite().covariance_pair(normal(1, 5, 2), normal(2, 5, 2))
    list(encryptor.encrypt(1 << 16))
    with pytest.raises(LocalProtocolError):
        next(encryptor.encrypt(1 << 16))
