"""What the client sees of training in private coordinates: neither mean nor scale nor axes of the provider's rows.

The controls are the same view of raw embeddings, and of whitened ones that were not rotated: there the attack finds
what it looks for. What remains visible, the rank and the effective dimension, is not tested here.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy

from securealign.alignment.coordinates import Space
from securealign.alignment.secure import ClientProblem
from securealign.he.entropy import SystemEntropy
from securealign.matrices import FloatMatrix, Rows

N, DIM_A, DIM_B = 1200, 48, 64


def paired() -> tuple[FloatMatrix, FloatMatrix]:
    """Z_A whose columns differ in mean and scale, and Z_B from which they can be predicted."""
    random = np.random.default_rng(0)
    latent = random.normal(size=(N, DIM_A))
    z_a = latent + 0.3 * latent @ random.normal(size=(DIM_A, DIM_A)) / np.sqrt(DIM_A)
    z_b = latent @ random.normal(size=(DIM_A, DIM_B)) + 0.5 * random.normal(size=(N, DIM_B))
    return z_a * np.geomspace(1, 30, DIM_A) + np.linspace(-9, 40, DIM_A), z_b


Z_A, Z_B = paired()


class View:
    """All that training gives the client: a product with its rows, and a squared norm."""

    def __init__(self, rows: Rows, total: float) -> None:
        self.total = total
        self._problem = ClientProblem(Z_B, "auto")
        self.product = rows.block(0, N).T @ self._problem.rows.block(0, N)

    def mean(self) -> FloatMatrix:
        """The mean of the provider's rows, which the constant column shows."""
        return self.product[:, -1] / N

    def sizes(self) -> FloatMatrix:
        """The norms of the provider's columns, as far as the client's rows explain them."""
        return np.linalg.norm(self.product[:, :-1], axis=1)

    def predicted(self) -> FloatMatrix:
        """The provider's rows, as the map predicts them."""
        return self._problem.solve(self.product, self.total).apply(Z_B)


def raw() -> View:
    return View(Rows(Z_A), float(np.sum(Z_A**2)))


def inside(space: Space) -> View:
    return View(space.rows(Rows(Z_A)), space.total_squares)


def rotated(seed: bytes = b"secret") -> View:
    return inside(Space.of(Rows(Z_A), SeededEntropy(seed)))


def axes_found(view: View) -> float:
    """Return the median, over the provider's columns, of the best correlation with what the client predicts."""
    correlations = np.corrcoef(view.predicted().T, Z_A.T)[:DIM_A, DIM_A:]
    return float(np.median(np.abs(correlations).max(axis=0)))


def axes_in_place(view: View) -> float:
    """The same for columns of the same number."""
    correlations = np.corrcoef(view.predicted().T, Z_A.T)[:DIM_A, DIM_A:]
    return float(np.median(np.abs(np.diag(correlations))))


@pytest.mark.parametrize("seed", [b"a", b"b", b"c"])
def test_the_axes_of_the_providers_embeddings_do_not_show(seed):
    # The best of 48 correlations that are chance: about two and a half deviations of 48^-1/2.
    assert axes_found(rotated(seed)) < 0.5
    assert axes_in_place(rotated(seed)) < 0.2


def test_without_the_rotation_they_would():
    """The control: whitening alone is symmetric, so that each column stays close to the one that it came from."""
    assert axes_in_place(inside(Space.of(Rows(Z_A)))) > 0.5
    assert axes_found(raw()) > 0.9


def test_real_randomness_hides_them_as_well():
    assert axes_found(inside(Space.of(Rows(Z_A), SystemEntropy()))) < 0.5


def test_the_mean_of_the_providers_embeddings_does_not_show():
    view = rotated()
    assert np.abs(view.mean()).max() < 1e-9
    np.testing.assert_allclose(raw().mean(), Z_A.mean(axis=0), rtol=1e-6)


def test_the_scales_of_its_columns_do_not_show():
    spread = Z_A.std(axis=0)
    sizes = rotated().sizes()
    assert sizes.max() < 2 * sizes.min()
    assert abs(np.corrcoef(sizes, spread)[0, 1]) < 0.5
    assert np.corrcoef(raw().sizes(), spread)[0, 1] > 0.9


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_unit_and_offset_change_nothing_that_the_client_sees(factor):
    other = factor * (Z_A + 7)
    space = Space.of(Rows(other), SeededEntropy(b"secret"))
    seen, before = View(space.rows(Rows(other)), space.total_squares), rotated()
    np.testing.assert_allclose(seen.product, before.product, atol=1e-7 * np.abs(before.product).max())
    assert seen.total == pytest.approx(before.total)
