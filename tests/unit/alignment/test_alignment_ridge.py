"""The alignment map is ridge regression with a free intercept, from sums that either party can keep alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from support.entropy import SeededEntropy

from securealign.alignment import AlignmentMap, CrossMoments, LinearAligner, Moments, solve_ridge
from securealign.alignment.coordinates import Space
from securealign.alignment.ridge import AUTO_SHARE, SMALLEST_SHARE, resolve_penalty
from securealign.alignment.scaling import Scaling
from securealign.alignment.secure import ClientProblem
from securealign.errors import ConfigurationError, ErrorCode, InputError, SecurealignWarning
from securealign.matrices import Rows


def correlated(rows: int, source: int, target: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (Z_B, Z_A) that share a latent space, with means away from zero."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(rows, 8))
    z_b = latent @ random.normal(size=(8, source)) + 0.3 * random.normal(size=(rows, source)) + 2.0
    z_a = latent @ random.normal(size=(8, target)) + 0.3 * random.normal(size=(rows, target)) - 1.0
    return z_b, z_a


Z_B, Z_A = correlated(300, 12, 7)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 250.0])
def test_the_map_is_that_of_scikit_learn(penalty):
    ours = LinearAligner(ridge=penalty).fit(Z_B, Z_A).map_
    theirs = Ridge(alpha=penalty).fit(Z_B, Z_A)
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.apply(Z_B), theirs.predict(Z_B), rtol=0, atol=1e-8)


def test_the_intercept_is_not_penalised():
    shifted = LinearAligner(ridge=1e6).fit(Z_B, Z_A + 100.0).map_
    unshifted = LinearAligner(ridge=1e6).fit(Z_B, Z_A).map_
    np.testing.assert_allclose(shifted.weight, unshifted.weight, atol=1e-12)
    np.testing.assert_allclose(shifted.bias, unshifted.bias + 100.0, atol=1e-9)


def splits(rows: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, rows - 1), max_size=6, unique=True).map(lambda cuts: [0, *sorted(cuts), rows])


@given(splits(60))
def test_moments_do_not_depend_on_how_rows_arrive(cuts):
    z_b, z_a = Z_B[:60], Z_A[:60]
    streamed, crossed = Moments.empty(12), CrossMoments.empty(12, 7)
    for first, stop in pairwise(cuts):
        streamed.update(z_b[first:stop])
        crossed.update(z_b[first:stop], z_a[first:stop])
    centred = z_b - z_b.mean(axis=0)
    for moments in (streamed, crossed.source, Moments.of(Rows(z_b))):
        assert moments.count == 60
        np.testing.assert_allclose(moments.mean, z_b.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.gram, centred.T @ centred, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(crossed.target_mean, z_a.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(crossed.cross, centred.T @ (z_a - z_a.mean(axis=0)), rtol=1e-9, atol=1e-9)


def test_a_large_mean_costs_no_precision():
    """Sums of squares would lose all sixteen digits here; centred merging does not."""
    moments = Moments.of(Rows(Z_B + 1e7))
    centred = Z_B - Z_B.mean(axis=0)
    np.testing.assert_allclose(moments.gram, centred.T @ centred, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 0.25, 40.0])
def test_auto_does_not_depend_on_the_scale_of_embeddings(factor):
    plain = LinearAligner(ridge="auto").fit(Z_B, Z_A)
    scaled = LinearAligner(ridge="auto").fit(Z_B * factor, Z_A)
    np.testing.assert_allclose(scaled.map_.weight * factor, plain.map_.weight, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(scaled.transform(Z_B * factor), plain.transform(Z_B), rtol=1e-8, atol=1e-9)


def test_auto_is_a_share_of_the_mean_variance_where_nothing_can_choose():
    problem = ClientProblem(Z_B, "auto", fixed=True)
    gram = problem.moments.gram
    assert problem.penalty == resolve_penalty("auto", gram) == pytest.approx(AUTO_SHARE * np.diag(gram).mean())
    # Standardised columns: the mean diagonal is the number of rows.
    assert problem.penalty == pytest.approx(AUTO_SHARE * 300)


def test_auto_encrypts_rows_under_the_smallest_penalty_that_it_may_choose():
    problem = ClientProblem(Z_B, "auto")
    assert problem.penalty == pytest.approx(SMALLEST_SHARE * 300)
    chosen = LinearAligner(ridge="auto").fit(Z_B, Z_A).map_.metadata
    assert chosen["ridge"] == "auto"
    assert chosen["penalty"] >= problem.penalty


def test_a_map_says_how_it_was_made():
    made = LinearAligner(ridge=250.0, map="soft").fit(Z_B, Z_A).map_.metadata
    assert set(made) == {"map", "ridge", "penalty", "rows", "r2", "r2_unseen", "relatedness"}
    assert (made["map"], made["ridge"], made["penalty"], made["rows"]) == ("soft", 250.0, 250.0, 300)
    assert 0.5 < made["r2_unseen"] < made["r2"] < 1


@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, 1e6 / 7])
def test_embeddings_that_do_not_vary_are_refused(constant):
    same = np.full((20, 3), constant)
    with pytest.raises(InputError, match="Z_B holds the same embedding in all its rows"):
        LinearAligner(ridge="auto").fit(same, Z_A[:20])
    with pytest.raises(InputError, match="Z_A holds the same embedding in all its rows"):
        LinearAligner(ridge="auto").fit(Z_A[:20], same)
    with pytest.raises(InputError, match="Z_B holds the same embedding in all its rows"):
        ClientProblem(same, "auto")


def test_under_a_given_penalty_client_embeddings_that_do_not_vary_map_to_the_mean():
    constant = np.full((20, 3), 5.0)
    with pytest.warns(SecurealignWarning, match="may not belong together"):
        aligner = LinearAligner(ridge=1.0).fit(constant, Z_A[:20])
    np.testing.assert_allclose(aligner.transform(constant), np.tile(Z_A[:20].mean(axis=0), (20, 1)), atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.nan, np.inf, -np.inf, "much", None, [1.0, 2.0], "Auto"])
def test_a_penalty_that_solves_nothing_is_refused(penalty):
    with pytest.raises(ConfigurationError, match="ridge penalty") as caught:
        LinearAligner(ridge=penalty).fit(Z_B, Z_A)
    assert caught.value.hint == "Use 'auto' or a number above zero."


def test_a_penalty_too_small_for_dependent_columns_is_refused():
    """The solver fails on a matrix that is not positive definite, and says so in the user's terms."""
    moments = Moments(3, np.zeros(2), np.array([[1.0, 1.0], [1.0, 1.0 - 1e-9]]))
    with pytest.raises(ConfigurationError, match="too small") as caught:
        solve_ridge(moments, np.zeros(1), np.ones((2, 1)), 1e-300)
    assert isinstance(caught.value.__cause__, np.linalg.LinAlgError)


def test_paired_rows_must_be_as_many():
    with pytest.raises(InputError, match="300 rows and Z_A has 299") as caught:
        LinearAligner().fit(Z_B, Z_A[:-1])
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


@pytest.mark.parametrize("kind", ["ridge", "soft"])
@pytest.mark.parametrize("penalty", [1e-3, 40.0, "auto"])
def test_the_client_solves_for_the_same_map_from_the_product(penalty, kind):
    problem = ClientProblem(Z_B, penalty, kind)
    rows = np.vstack(list(problem.rows.blocks()))
    assert rows.shape == problem.rows.shape == (300, 13)
    np.testing.assert_allclose(rows[:, :-1].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(rows[:, -1], 1.0)
    space = Space.of(Rows(Z_A), SeededEntropy(b"space"), scaling=Scaling.of(Rows(Z_A), normalise=penalty == "auto"))
    solved = problem.solve(space.rows(Rows(Z_A)).block(0, 300).T @ rows, space.total_squares)
    weight, bias = space.unfold(solved.weight, solved.bias)
    fitted = LinearAligner(ridge=penalty, map=kind).fit(Z_B, Z_A).map_
    np.testing.assert_allclose(weight, fitted.weight, atol=1e-10)
    np.testing.assert_allclose(bias, fitted.bias, atol=1e-10)
    named = {name: solved.metadata[name] for name in ("map", "ridge")}
    assert named == {name: fitted.metadata[name] for name in named} == {"map": kind, "ridge": penalty}
    for name in set(fitted.metadata) - set(named):
        assert solved.metadata[name] == pytest.approx(fitted.metadata[name], rel=1e-6), name
    assert set(solved.metadata) == set(fitted.metadata)


def test_what_the_client_encrypts_is_white():
    """Every direction has the same share of the modulus; the norms are known without another pass."""
    problem = ClientProblem(Z_B * np.geomspace(1e-2, 1e2, 12), 1e-9)
    rows = np.vstack(list(problem.rows.blocks()))
    np.testing.assert_allclose(rows[:, :-1].T @ rows[:, :-1], np.eye(12), atol=1e-5)
    np.testing.assert_allclose(problem.rows.column_norms(), np.linalg.norm(rows, axis=0), rtol=1e-6)


def dependent(value: float) -> np.ndarray:
    """Return embeddings with dead dimensions, equal ones, and one that is the sum of two."""
    z_b = Z_B.copy()
    z_b[:, 3], z_b[:, 7], z_b[:, 8] = value, 2 * value, 0.0
    z_b[:, 4], z_b[:, 5] = z_b[:, 0], z_b[:, 1] + z_b[:, 2]
    return z_b


@pytest.mark.parametrize("value", [0.0, 0.1, 5.0, 1e3 + 0.1])
@pytest.mark.parametrize("penalty", [1e-9, 1e-3, "auto"])
def test_norms_bound_the_columns_even_where_embeddings_do_not_vary(value, penalty):
    problem = ClientProblem(dependent(value), penalty)
    norms = np.linalg.norm(np.vstack(list(problem.rows.blocks())), axis=0)
    assert (problem.rows.column_norms() >= norms * (1 - 1e-9)).all()


@pytest.mark.parametrize("penalty", [0.0, -1.0, "much"])
def test_the_client_is_told_of_its_penalty_before_anything_is_sent(penalty):
    with pytest.raises(ConfigurationError, match="ridge penalty"):
        ClientProblem(Z_B, penalty)


@pytest.mark.parametrize(("weight", "bias"), [((3, 2), (3,)), ((3, 2), (2, 1)), ((3,), ()), ((3, 2), ())], ids=str)
def test_a_map_fits_together(weight, bias):
    with pytest.raises(InputError, match="does not fit together"):
        AlignmentMap(np.zeros(weight), np.zeros(bias))


def test_a_map_is_applied_to_finite_embeddings_of_its_dimension():
    fitted = AlignmentMap(np.ones((3, 2)), np.array([0.0, 10.0]))
    np.testing.assert_array_equal(fitted.apply([[1, 2, 3]]), [[6.0, 16.0]])
    with pytest.raises(InputError, match="4 columns where 3"):
        fitted.apply(np.zeros((1, 4)))
    with pytest.raises(InputError, match="row 1"):
        fitted.apply([[1, 2, 3], [1, np.nan, 3]])
