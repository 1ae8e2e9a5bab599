import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.alignment import LinearAligner
from securealign.alignment.fits import (
    choose_share,
    explained,
    fit_mean_only,
    fit_procrustes,
    fit_reduced_rank,
    fit_ridge,
    fit_whitening,
    moments_of,
    ridge_from,
    scale_of,
    with_rows,
)
from securealign.errors import InputError


def paired(seed=0, rows=300, source=12, target=9, noise=0.1):
    random = np.random.default_rng(seed)
    z_b = random.normal(size=(rows, source)) + 2
    z_a = z_b @ random.normal(size=(source, target)) + noise * random.normal(size=(rows, target)) - 1
    return z_b, z_a


def test_ridge_is_the_fit_of_the_protocol_with_another_unit_of_penalty():
    z_b, z_a = paired()
    centred = z_b - z_b.mean(axis=0)
    penalty = 0.05 * np.trace(centred.T @ centred) / z_b.shape[1]
    expected = LinearAligner(ridge=float(penalty)).fit(z_b, z_a).map_
    found = fit_ridge(z_b, z_a, 0.05)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-10)
    np.testing.assert_allclose(found.bias, expected.bias, atol=1e-10)


@given(st.integers(0, 2**32 - 1), st.integers(1, 299))
def test_moments_that_get_more_rows_are_those_of_all_rows(seed, first):
    z_b, z_a = paired(seed)
    scale = scale_of(z_b)
    start = moments_of(z_b[:first], z_a[:first], scale)
    before = start.cross.copy()
    merged = ridge_from(with_rows(start, z_b[first:], z_a[first:], scale), 0.01, scale)
    np.testing.assert_allclose(merged.weight, fit_ridge(z_b, z_a, 0.01, scale).weight, atol=1e-8)
    np.testing.assert_array_equal(start.cross, before)


@given(st.lists(st.floats(-2, 2), min_size=12, max_size=12))
def test_with_a_scale_the_fit_does_not_depend_on_units(powers):
    z_b, z_a = paired()
    other = z_b * np.power(10.0, powers)
    first, second = fit_ridge(z_b, z_a, 0.1, scale_of(z_b)), fit_ridge(other, z_a, 0.1, scale_of(other))
    np.testing.assert_allclose(first.apply(z_b), second.apply(other), rtol=1e-6, atol=1e-6)


def test_without_a_scale_one_large_dimension_drowns_the_others():
    z_b, z_a = paired(noise=0)
    z_b[:, 0] *= 1000
    plain, scaled = fit_ridge(z_b, z_a, 0.01), fit_ridge(z_b, z_a, 0.01, scale_of(z_b))
    assert explained(z_a, scaled.apply(z_b)) > 0.99
    assert explained(z_a, plain.apply(z_b)) < 0.5


def test_a_dead_dimension_divides_by_a_share_of_the_median():
    z_b, _ = paired()
    z_b[:, 3] = 7
    alive = np.delete(z_b.std(axis=0), 3)
    assert scale_of(z_b)[3] == pytest.approx(1e-3 * np.median(alive))


def test_procrustes_finds_a_rotation():
    random = np.random.default_rng(0)
    z_b = random.normal(size=(200, 8))
    rotation, _ = np.linalg.qr(random.normal(size=(8, 8)))
    found = fit_procrustes(z_b, 3 * z_b @ rotation + 1)
    np.testing.assert_allclose(found.weight, 3 * rotation, atol=1e-8)
    np.testing.assert_allclose(found.bias, 1, atol=1e-8)


def test_whitening_gives_the_covariance_of_the_target():
    z_b, z_a = paired(noise=0, source=9)
    mapped = fit_whitening(z_b, z_a, 1e-9, scale_of(z_b)).apply(z_b)
    np.testing.assert_allclose(np.cov(mapped.T), np.cov(z_a.T), rtol=1e-4, atol=1e-4)
    assert explained(z_a, mapped) > 0.99


def test_a_reduced_rank_keeps_the_best_directions():
    z_b, z_a = paired()
    kept = [explained(z_a, fit_reduced_rank(z_b, z_a, 1e-6, rank=rank).apply(z_b)) for rank in (1, 4, 9, 40)]
    assert kept == sorted(kept)
    assert kept[2] == pytest.approx(kept[3]) == pytest.approx(explained(z_a, fit_ridge(z_b, z_a, 1e-6).apply(z_b)))
    weight = fit_reduced_rank(z_b, z_a, 1e-6, scale_of(z_b), rank=2).weight
    assert np.linalg.matrix_rank(weight) == 2


@pytest.mark.parametrize("target", [9, 12, 15])
def test_the_mean_alone_moves_and_nothing_else(target):
    z_b, z_a = paired(target=target)
    mapped = fit_mean_only(z_b, z_a).apply(z_b)
    np.testing.assert_allclose(mapped.mean(axis=0), z_a.mean(axis=0), atol=1e-10)
    assert explained(z_a, mapped) < 0.5


def test_the_penalty_grows_with_the_noise():
    shares = [choose_share(*paired(rows=40, noise=noise)) for noise in (0.001, 30)]
    assert shares[0] < shares[1]


def test_the_chosen_penalty_explains_most_of_rows_that_it_has_not_seen():
    z_b, z_a = paired(rows=60, source=40, noise=4)
    fresh_b, fresh_a = paired(seed=0, rows=60, source=40, noise=4)
    share = choose_share(z_b, z_a)
    unseen = {other: explained(fresh_a, fit_ridge(z_b, z_a, other).apply(fresh_b)) for other in (1e-4, share, 1.0)}
    assert unseen[share] >= unseen[1.0]


def test_rows_must_be_paired():
    for fit in (fit_procrustes, fit_mean_only, lambda b, a: fit_ridge(b, a, 1), lambda b, a: fit_whitening(b, a, 1)):
        with pytest.raises(InputError, match="rows"):
            fit(np.ones((4, 2)), np.ones((5, 2)))


def test_a_target_that_does_not_vary_is_explained_by_nothing():
    assert explained(np.ones((3, 2)), np.ones((3, 2))) == 0
