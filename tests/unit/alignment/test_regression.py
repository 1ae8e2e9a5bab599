"""A map from the statistics of a regression: its formulas, the penalty that it chooses, and rows that do not pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.alignment.clear import ClearFit, fit_map
from securealign.alignment.regression import (
    RELATED,
    Regression,
    require_map_kind,
    require_related,
    unrelated_warning,
)
from securealign.errors import ConfigurationError, ErrorCode, InputError, SecurealignWarning

PENALTIES = [1e-6, 1e-2, 1.0, 50.0, 1e4]


def encoders(
    rows: int, source: int, target: int, *, seed: int = 0, noise: float = 1.0, shared: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Return (Z_B, Z_A) that share a latent space with a falling spectrum, each with noise of its own."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(rows, shared)) / np.sqrt(np.arange(1, shared + 1))

    def embed(columns):
        mixed = latent @ random.normal(size=(shared, columns)) + 0.3 * noise * random.normal(size=(rows, columns))
        return mixed + random.normal(size=columns)

    return embed(source), embed(target)


def centred(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=0)


def regression(z_b: np.ndarray, z_a: np.ndarray) -> Regression:
    x, y = centred(z_b), centred(z_a)
    return Regression.of(len(x), x.T @ x, x.T @ y, float(np.sum(y**2)))


Z_B, Z_A = encoders(150, 9, 7)
X, Y = centred(Z_B), centred(Z_A)
FOUND = regression(Z_B, Z_A)


def predicting(penalty: float) -> np.ndarray:
    """The matrix that turns targets into predictions, the intercept among its parameters."""
    ridge = X @ np.linalg.solve(X.T @ X + penalty * np.eye(9), X.T)
    return ridge + 1 / len(X)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_ridge_map_is_that_of_the_paper(penalty):
    expected = np.linalg.solve(X.T @ X + penalty * np.eye(9), X.T @ Y)
    np.testing.assert_allclose(FOUND.weight("ridge", penalty), expected, atol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_freedom_and_residual_are_those_of_the_rows(penalty):
    hat = predicting(penalty)
    assert FOUND.freedom(penalty) == pytest.approx(np.trace(hat))
    left = np.sum((Z_A - hat @ Z_A) ** 2)
    assert FOUND.residual(penalty) == pytest.approx(left, rel=1e-6)
    assert FOUND.explained(penalty) == pytest.approx(1 - left / np.sum(Y**2), abs=1e-9)


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 50.0])
def test_the_error_on_unseen_texts_is_that_of_leaving_one_out(penalty):
    """Exactly what leaving one out gives where every row has the mean leverage; about that where leverages differ."""
    hat = predicting(penalty)
    leverages = np.diag(hat)
    errors = np.sum((Z_A - hat @ Z_A) ** 2, axis=1)
    assert FOUND.unseen(penalty) == pytest.approx(np.mean(errors) / (1 - np.mean(leverages)) ** 2)
    assert FOUND.unseen(penalty) == pytest.approx(np.mean(errors / (1 - leverages) ** 2), rel=0.05)


def test_leaving_one_out_by_its_formula_is_leaving_one_out():
    """The formula above, against fits without a row; centred statistics change with the row, so ever so slightly."""
    penalty, errors = 1.0, []
    for row in range(40):
        others = np.arange(len(Z_B)) != row
        x, y = Z_B[others], Z_A[others]
        fitted = regression(x, y).weight("ridge", penalty)
        errors.append(np.sum((Z_A[row] - y.mean(axis=0) - (Z_B[row] - x.mean(axis=0)) @ fitted) ** 2))
    hat = predicting(penalty)
    by_formula = np.sum((Z_A - hat @ Z_A) ** 2, axis=1) / (1 - np.diag(hat)) ** 2
    np.testing.assert_allclose(by_formula[:40], errors, rtol=1e-3)


def test_the_estimate_of_r2_is_what_other_texts_give():
    z_b, z_a = encoders(3000, 20, 16, seed=3)
    fitted = fit_map(z_b[:600], z_a[:600], "auto")
    found = explained(fitted.apply(z_b[600:]), z_a[600:])
    claimed = ClearFit.of(z_b[:600], z_a[:600]).regression.explained_unseen(fitted.metadata["penalty"])
    assert fitted.metadata["r2_unseen"] == claimed
    # The claim counts directions of private coordinates, which are of more equal size than those of the rows.
    assert 0.5 < claimed < fitted.metadata["r2"] < 1
    assert 0.5 < found < 1


def test_as_many_parameters_as_rows_promise_nothing():
    few = regression(Z_B[:10], Z_A[:10])
    assert few.unseen(0.0) == math.inf
    assert few.explained_unseen(0.0) == -math.inf
    assert few.best_penalty(1e-9) > 1e-6
    assert math.isfinite(few.unseen(few.best_penalty(1e-9)))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_soft_map_is_its_formula_written_out(penalty):
    values, vectors = np.linalg.eigh(X.T @ X + penalty * np.eye(9))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    left, singular, right = np.linalg.svd(root @ X.T @ Y, full_matrices=False)
    count, freedom, total = len(X), np.trace(predicting(penalty)), np.sum(Y**2)
    by_chance = (math.sqrt(total / count) + math.sqrt(freedom - 1)) / math.sqrt(count)
    kept = np.minimum(1, singular / math.sqrt(count) / by_chance)
    expected = math.sqrt(count) * root @ left @ np.diag(kept) @ right
    np.testing.assert_allclose(FOUND.weight("soft", penalty), expected, atol=1e-8)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 20))
def test_a_rotation_of_the_target_rotates_either_map(penalty, seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, 7)))
    rotated = Regression.of(len(X), X.T @ X, X.T @ Y @ rotation, FOUND.total)
    for kind in ("ridge", "soft"):
        np.testing.assert_allclose(rotated.weight(kind, penalty), FOUND.weight(kind, penalty) @ rotation, atol=1e-8)


def explained(predicted: np.ndarray, rows: np.ndarray) -> float:
    return 1 - float(np.sum((predicted - rows) ** 2) / np.sum((rows - rows.mean(axis=0)) ** 2))


def test_the_soft_map_keeps_the_spread_that_ridge_shrinks():
    z_b, z_a = encoders(2000, 40, 30, noise=3.0)
    fit = ClearFit.of(z_b, z_a)
    ridge, soft = (fit.map(kind).apply(z_b) for kind in ("ridge", "soft"))
    within = [centred(fit.space.apply(rows)) for rows in (z_a, ridge, soft)]
    # Along the directions of the provider that the client predicts best.
    _, _, axes = np.linalg.svd(within[1], full_matrices=False)
    spread = [np.std(rows @ axes[:3].T, axis=0) for rows in within]
    assert (spread[1] < 0.97 * spread[0]).all()
    assert (spread[2] > 1.02 * spread[1]).all()
    # All that the sum of the whitened and the penalised variance leaves: one in these coordinates.
    np.testing.assert_allclose(spread[2], 1, atol=0.05)
    assert explained(ridge, z_a) > explained(soft, z_a)


def test_directions_that_chance_explains_stay_small_in_the_soft_map():
    random = np.random.default_rng(4)
    z_b, z_a = random.normal(size=(3000, 20)), random.normal(size=(3000, 20))
    found = regression(z_b, z_a)
    for penalty in (1.0, 1000.0):
        soft = found.weight("soft", penalty)
        # Nothing above the bound: no direction keeps its full spread.
        assert np.linalg.svd(centred(z_b) @ soft, compute_uv=False).max() < math.sqrt(3000)


# The penalty that chooses itself.

ROWS, UNSEEN, D_B, D_A = 900, 3000, 60, 40


def columns_times(factor):
    def change(z_b, z_a):
        z_b = z_b.copy()
        z_b[:, 7] *= factor
        return z_b, z_a

    return change


def heavy_tailed(z_b, z_a):
    lengths = np.exp(1.5 * np.random.default_rng(8).normal(size=(len(z_b), 1)))
    return z_b * lengths, z_a


def unchanged(z_b, z_a):
    return z_b, z_a


def regret(change, rows=ROWS, repeat=0):
    """Return by how much R^2 on unseen texts, in private coordinates, is below that of the best fixed penalty."""
    z_b, z_a = encoders(rows + UNSEEN, D_B, D_A, seed=6, noise=1.5, shared=30)
    z_b, z_a = change(z_b, z_a)
    seen = np.concatenate([np.arange(rows), np.tile(np.arange(rows // 3), repeat)])
    fit = ClearFit.of(z_b[seen], z_a[seen])
    assert fit.regression.count == rows
    x = centred(fit.scaling.apply(z_b[:rows]))
    within = fit.space.apply(z_a)
    known, unseen = within[:rows], within[rows:]
    # Queries are not brought to one norm; what is asked is how well the penalty was chosen, so these are.
    others = fit.scaling.apply(z_b[rows:]) - fit.scaling.apply(z_b[:rows]).mean(axis=0)

    def held_out(penalty):
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(D_B), x.T @ centred(known))
        return explained(known.mean(axis=0) + others @ weight, unseen)

    best = max(held_out(penalty) for penalty in np.geomspace(1e-3, 1e3, 61) * np.trace(x.T @ x) / D_B)
    return best - held_out(fit.penalty)


@pytest.mark.parametrize("factor", [1, 30, 300, 1000])
def test_the_penalty_is_as_good_as_the_best_whatever_the_size_of_a_column(factor):
    assert regret(columns_times(factor)) < 0.005


def test_repeated_rows_do_not_mislead_the_choice():
    assert regret(unchanged, repeat=4) < 0.005


def test_heavy_tailed_rows_do_not_mislead_the_choice():
    assert regret(heavy_tailed) < 0.005


def test_few_rows_for_each_dimension_cost_little():
    assert regret(unchanged, rows=int(1.2 * D_B)) < 0.01


def test_counting_repeated_rows_would_mislead_the_choice():
    """The control: taken as rows of their own, copies vouch for one another, and the penalty is too small."""
    z_b, z_a = encoders(100, D_B, D_A, seed=6, noise=1.5, shared=30)
    once, copies = regression(z_b, z_a), regression(np.tile(z_b, (5, 1)), np.tile(z_a, (5, 1)))
    assert copies.best_penalty(1e-3) / 5 < 0.2 * once.best_penalty(1e-3)


def test_no_penalty_below_the_smallest_is_chosen():
    exact = Z_B @ np.random.default_rng(1).normal(size=(9, 7))
    found = regression(Z_B, exact)
    for smallest in (1e-4, 1e-2, 10.0):
        assert found.best_penalty(smallest) == pytest.approx(smallest)
    assert found.best_penalty(1e9) == pytest.approx(1e9)


# Rows that do not belong together.


def large(seed: int, dimension: int = 110) -> tuple[np.ndarray, np.ndarray]:
    return encoders(5 * dimension, dimension, 30, seed=seed, noise=3.0)


def relatedness(z_b: np.ndarray, z_a: np.ndarray) -> float:
    fit = ClearFit.of(z_b, z_a)
    return fit.regression.relatedness(fit.penalty)


@pytest.mark.parametrize("seed", range(4))
def test_relatedness_tells_paired_rows_from_shuffled_and_shifted_ones(seed):
    z_b, z_a = large(seed)
    shuffled = np.random.default_rng(seed).permutation(len(z_a))
    assert relatedness(z_b, z_a) > 2 * RELATED
    assert abs(relatedness(z_b, z_a[shuffled])) < RELATED
    assert abs(relatedness(z_b, np.roll(z_a, 1, axis=0))) < RELATED


@pytest.mark.parametrize("penalty", [1e-3, "auto"])
def test_rows_that_do_not_belong_together_are_refused(penalty):
    z_b, z_a = large(0)
    with pytest.raises(InputError, match="do not belong together: relatedness") as caught:
        fit_map(z_b, np.roll(z_a, 1, axis=0), penalty)
    assert caught.value.code is ErrorCode.PAIRS_UNRELATED
    assert "in the same order" in caught.value.hint
    assert fit_map(z_b, z_a, penalty).metadata["relatedness"] > RELATED


@pytest.mark.parametrize(
    ("rows", "dimension"), [(399, 100), (990, 99)], ids=["few rows for each dimension", "few dimensions"]
)
def test_where_chance_reaches_it_unrelated_rows_are_warned_of(rows, dimension):
    z_b, z_a = (np.random.default_rng(seed).normal(size=(rows, dimension)) for seed in (1, 2))
    with pytest.warns(SecurealignWarning, match="may not belong together"):
        fit_map(z_b, z_a, "auto")


def test_at_the_limit_unrelated_rows_are_refused():
    z_b, z_a = (np.random.default_rng(seed).normal(size=(400, 100)) for seed in (1, 2))
    with pytest.raises(InputError, match="do not belong together"):
        fit_map(z_b, z_a, "auto")


def test_related_rows_raise_nothing_and_warn_of_nothing():
    assert require_related(FOUND, 1.0) > RELATED
    assert unrelated_warning({"relatedness": RELATED}) is None
    assert unrelated_warning({"map": "ridge"}) is None
    assert "relatedness 3.9" in unrelated_warning({"relatedness": 3.94})


@pytest.mark.parametrize("total", [0.0, 10.0])
def test_rows_without_variance_are_related_to_nothing_and_explain_nothing(total):
    nothing = Regression.of(20, np.zeros((3, 3)), np.zeros((3, 2)), total)
    assert nothing.relatedness(1.0) == 0
    for kind in ("ridge", "soft"):
        np.testing.assert_array_equal(nothing.weight(kind, 1.0), np.zeros((3, 2)))
        assert nothing.facts(kind, 1.0, "auto")["r2"] == 0


@pytest.mark.parametrize("total", [0.0, 1e-300, 1e300])
def test_a_squared_norm_that_the_provider_made_up_breaks_nothing(total):
    stated = Regression.of(len(X), X.T @ X, X.T @ Y, total)
    penalty = stated.best_penalty(1e-3)
    facts = stated.facts("soft", penalty, "auto")
    assert np.isfinite(stated.weight("soft", penalty)).all()
    assert not any(isinstance(fact, float) and math.isnan(fact) for fact in facts.values())


# Weighted rows, and kinds.


def test_weighing_a_row_is_repeating_it():
    weights = np.random.default_rng(0).integers(1, 4, size=len(Z_B))
    weighted = fit_map(Z_B, Z_A, 2.0, weights=weights)
    repeated = fit_map(np.repeat(Z_B, weights, axis=0), np.repeat(Z_A, weights, axis=0), 2.0)
    np.testing.assert_allclose(weighted.weight, repeated.weight, atol=1e-9)
    np.testing.assert_allclose(weighted.bias, repeated.bias, atol=1e-9)
    assert weighted.metadata["rows"] == len(Z_B)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_weights_are_numbers_above_zero(bad):
    weights = np.ones(len(Z_B))
    weights[3] = bad
    for given_weights in (weights, np.ones(3)):
        with pytest.raises(InputError, match="do not fit") as caught:
            fit_map(Z_B, Z_A, 1.0, weights=given_weights)
        assert caught.value.hint


def test_there_are_two_kinds_of_map():
    for kind in ("ridge", "soft"):
        require_map_kind(kind)
    with pytest.raises(ConfigurationError, match="There is no map 'hard'"):
        require_map_kind("hard")
