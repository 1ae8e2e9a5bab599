import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.alignment.clear import ClearFit
from securealign.errors import InputError
from securealign.lab.measures.fits import explained, fit_mean_only, fit_procrustes, fit_reduced_rank, fit_whitening


def paired(seed=0, rows=300, source=12, target=9, noise=0.1):
    random = np.random.default_rng(seed)
    z_b = random.normal(size=(rows, source)) + 2
    z_a = z_b @ random.normal(size=(source, target)) + noise * random.normal(size=(rows, target)) - 1
    return z_b, z_a


FITS = {
    "reduced rank": lambda b, a: fit_reduced_rank(b, a, 1.0, rank=4),
    "whitening": lambda b, a: fit_whitening(b, a, 1.0),
    "Procrustes": fit_procrustes,
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@given(powers=st.lists(st.floats(-1, 1), min_size=12, max_size=12), offset=st.floats(-100, 100))
def test_a_fit_does_not_depend_on_units_and_offsets_of_the_source(fit, powers, offset):
    z_b, z_a = paired()
    other = z_b * np.power(10.0, powers) + offset
    np.testing.assert_allclose(fit(z_b, z_a).apply(z_b), fit(other, z_a).apply(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_units_of_the_target_are_those_of_the_mapped_rows(fit):
    z_b, z_a = paired()
    factors = np.geomspace(0.01, 100, z_a.shape[1])
    np.testing.assert_allclose(fit(z_b, z_a * factors + 5).apply(z_b), fit(z_b, z_a).apply(z_b) * factors + 5)


def test_procrustes_finds_a_rotation():
    random = np.random.default_rng(0)
    z_b = random.normal(size=(200, 8))
    z_b = (z_b - z_b.mean(axis=0)) / z_b.std(axis=0)
    swapped = np.roll(np.eye(8), 1, axis=0)
    found = fit_procrustes(z_b, 3 * z_b @ swapped + 1)
    np.testing.assert_allclose(found.weight, 3 * swapped, atol=1e-8)
    np.testing.assert_allclose(found.bias, 1, atol=1e-8)


def test_whitening_gives_the_covariance_of_the_target():
    z_b, z_a = paired(noise=0, source=9)
    mapped = fit_whitening(z_b, z_a, 1e-6).apply(z_b)
    np.testing.assert_allclose(np.cov(mapped.T), np.cov(z_a.T), rtol=1e-4, atol=1e-4)
    assert explained(z_a, mapped) > 0.99


def test_a_reduced_rank_keeps_the_best_directions():
    z_b, z_a = paired()
    kept = [explained(z_a, fit_reduced_rank(z_b, z_a, 1e-6, rank=rank).apply(z_b)) for rank in (1, 4, 9, 40)]
    assert kept == sorted(kept)
    assert kept[2] == pytest.approx(kept[3])
    assert kept[2] == pytest.approx(explained(z_a, ClearFit.of(z_b, z_a).map("ridge").apply(z_b)), abs=1e-4)
    assert np.linalg.matrix_rank(fit_reduced_rank(z_b, z_a, 1e-6, rank=2).weight) == 2


@pytest.mark.parametrize("target", [9, 12, 15])
def test_the_mean_alone_moves_and_nothing_else(target):
    z_b, z_a = paired(target=target)
    mapped = fit_mean_only(z_b, z_a).apply(z_b)
    np.testing.assert_allclose(mapped.mean(axis=0), z_a.mean(axis=0), atol=1e-10)
    assert explained(z_a, mapped) < 0.5


@pytest.mark.parametrize("fit", [*FITS.values(), fit_mean_only], ids=[*FITS, "mean only"])
def test_rows_must_be_paired(fit):
    z_b, z_a = paired(rows=20)
    with pytest.raises(InputError, match="rows"):
        fit(z_b, z_a[1:])


def test_a_target_that_does_not_vary_is_explained_by_nothing():
    assert explained(np.ones((3, 2)), np.ones((3, 2))) == 0
