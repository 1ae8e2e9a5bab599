"""The client's half of a training with noise: rows of norm one, and a map that stays that of the ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from securealign.alignment import privacy as privacy_module
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.secure import ClientProblem
from securealign.matrices import FloatMatrix
from securealign.protocol.training.noise import FINE_BITS, extra_rows

N, D_B, D_A = 600, 7, 5


def embeddings(seed: int, spread: float = 1.0, count: int = N) -> FloatMatrix:
    """Embeddings whose dimensions differ in scale and mean, some rows far longer than others."""
    random = np.random.default_rng(seed)
    lengths = np.exp(random.normal(size=(count, 1)) * spread)
    return random.normal(size=(count, D_B)) * np.geomspace(1, 1e-2, D_B) * lengths + np.arange(D_B)


def targets(z_b: FloatMatrix, seed: int) -> FloatMatrix:
    random = np.random.default_rng(seed)
    return z_b @ random.normal(size=(D_B, D_A)) + random.normal(size=D_A)


def product(problem: PrivateProblem, z_a: FloatMatrix, noise: FloatMatrix | None = None) -> FloatMatrix:
    rows = problem.rows.block(0, problem.rows.shape[0])
    extra = np.zeros((len(rows) - len(z_a), D_A)) if noise is None else noise
    return np.vstack([z_a, extra]).T @ rows


def ridge_map(problem: ClientProblem, z_b: FloatMatrix, z_a: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Return weight and bias of scikit-learn's ridge regression under the problem's scaling and penalty."""
    fitted = Ridge(alpha=problem.penalty).fit(problem.scaling.apply(z_b), z_a)
    weight = fitted.coef_.T / problem.scaling.scale[:, None]
    return weight, fitted.intercept_ - problem.scaling.mean @ weight


@given(seed=st.integers(0, 99), spread=st.floats(0, 3))
def test_no_row_is_longer_than_promised_and_the_rest_are_multiples_of_the_identity(seed, spread):
    rows = PrivateProblem(ClientProblem(embeddings(seed, spread), 1e-3)).rows
    matrix = rows.block(0, rows.shape[0])
    assert rows.shape == (N + extra_rows(D_B + 1), D_B + 1)
    norms = np.linalg.norm(matrix[:N], axis=1)
    assert norms.max() <= 1
    assert norms.min() > 1 - 1e-9
    np.testing.assert_array_equal(matrix[N : N + D_B + 1], np.eye(D_B + 1))
    np.testing.assert_array_equal(matrix[N + D_B + 1 :], np.eye(D_B + 1) * 2.0**-FINE_BITS)
    np.testing.assert_allclose(rows.column_norms(), np.linalg.norm(matrix, axis=0), rtol=1e-9)


@given(seed=st.integers(0, 99), spread=st.floats(0, 2))
def test_without_noise_an_exact_relation_is_found_exactly(seed, spread):
    z_b = embeddings(seed, spread)
    z_a = targets(z_b, seed)
    problem = PrivateProblem(ClientProblem(z_b, 1e-9))
    found = problem.solve(product(problem, z_a))
    np.testing.assert_allclose(found.apply(z_b), z_a, atol=1e-5 * np.abs(z_a).max())


@pytest.mark.parametrize("penalty", [1e-3, 10.0, "auto"])
def test_rows_of_equal_norm_give_the_map_without_noise_whatever_the_penalty(penalty):
    """Weighing changes nothing where all weights are the same: here every row is a unit vector or its opposite."""
    z_b = np.tile(np.vstack([np.eye(D_B), -np.eye(D_B)]), (9, 1)) + 2.0
    z_a = targets(z_b, 1) + np.random.default_rng(2).normal(size=(len(z_b), D_A))
    plain = ClientProblem(z_b, penalty, fixed=True)
    private = PrivateProblem(plain)
    weight, bias = ridge_map(plain, z_b, z_a)
    found = private.solve(product(private, z_a))
    np.testing.assert_allclose(found.weight, weight, atol=1e-9)
    np.testing.assert_allclose(found.bias, bias, atol=1e-9)
    # No estimate of R^2: it would take a square of the provider's rows, which noise does not cover.
    assert found.metadata == {"map": "ridge", "ridge": penalty, "penalty": plain.penalty, "rows": len(z_b)}


def test_the_map_is_close_to_the_one_without_noise_on_noisy_relations():
    z_b = embeddings(3, 0.5)
    z_a = targets(z_b, 3) + np.random.default_rng(4).normal(size=(N, D_A))
    plain = ClientProblem(z_b, "auto", fixed=True)
    private = PrivateProblem(plain)
    weight, bias = ridge_map(plain, z_b, z_a)
    expected = z_b @ weight + bias
    found = private.solve(product(private, z_a)).apply(z_b)
    assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(z_a - expected)


def test_forgetting_the_weights_would_shrink_the_map(monkeypatch):
    """The control: the Gram matrix of the rows as they are sent, weight and all, does not belong to this product."""
    z_b = embeddings(5, 1.0)
    z_a = targets(z_b, 5)
    problem = PrivateProblem(ClientProblem(z_b, 1e-9))
    sent = problem.rows.block(0, N)
    monkeypatch.setattr(problem, "_gram", sent.T @ sent)
    assert np.abs(problem.solve(product(problem, z_a)).apply(z_b) - z_a).max() > 0.1


def test_noise_moves_predictions_as_much_as_its_width_says():
    """Predictions of a text move by w / N of the noise's deviation, about."""
    z_b = embeddings(6, 0.0)
    z_a = targets(z_b, 6)
    problem = PrivateProblem(ClientProblem(z_b, 1e-6))
    width, deviation = D_B + 1, 3.0
    quiet = problem.solve(product(problem, z_a)).apply(z_b)
    moved = []
    for seed in range(20):
        noise = np.zeros((2 * width, D_A))
        noise[:width] = np.random.default_rng(seed).normal(size=(width, D_A)) * deviation
        moved.append(problem.solve(product(problem, z_a, noise)).apply(z_b) - quiet)
    assert np.std(moved) == pytest.approx(deviation * width / N, rel=0.25)


def test_both_parties_agree_on_the_fine_rows():
    assert privacy_module._FINE == 2.0**-FINE_BITS
