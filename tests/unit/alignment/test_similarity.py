"""CKA and SVCCA do not change with what does not matter, and are at chance for encoders that have nothing in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.errors import ErrorCode, InputError
from securealign.lab.measures.similarity import CentredRows, KeptComponents, debiased_cka, linear_cka

SEEDS = st.integers(0, 2**32 - 1)
# Decompositions take as long as other processes let them.
property_test = settings(max_examples=20, deadline=None)


def related(seed: int, rows: int = 60, x: int = 9, y: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, x) and (n, y) that share four directions, with means away from zero."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(rows, 4))
    return tuple(
        latent @ random.normal(size=(4, columns)) + 0.5 * random.normal(size=(rows, columns)) + 3.0
        for columns in (x, y)
    )


def svcca(train, test, components):
    x, y = (KeptComponents.of(fitted, held, components) for fitted, held in zip(train, test, strict=True))
    return x.svcca(y, components)


def rotation(seed: int, size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741 - as in the literature
    """Return the unbiased HSIC by Song et al. 2012, equation 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    cross = ones @ k @ l @ ones
    return (np.sum(k * l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


@property_test
@given(SEEDS)
def test_cka_is_its_definition(seed):
    x, y = related(seed)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y) == pytest.approx(expected)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    assert debiased_cka(x, y) == pytest.approx(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)), abs=1e-9)


def test_many_rows_are_compared_without_a_matrix_of_rows(monkeypatch):
    x, y = related(7)
    few = linear_cka(x, y), debiased_cka(x, y)
    monkeypatch.setattr("securealign.lab.measures.similarity._GRAM_ROWS", 59)
    assert CentredRows.of(x).in_order(np.arange(60)).gram is None
    assert (linear_cka(x, y), debiased_cka(x, y)) == pytest.approx(few)


@property_test
@given(SEEDS, st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_cka_ignores_rotation_scale_and_mean(seed, factor, shift):
    x, y = related(seed)
    moved = factor * (x @ rotation(seed, x.shape[1])) + shift
    assert linear_cka(moved, y) == pytest.approx(linear_cka(x, y), abs=1e-6)
    assert debiased_cka(moved, y) == pytest.approx(debiased_cka(x, y), abs=1e-6)


@property_test
@given(SEEDS)
def test_cka_is_symmetric_at_most_one_and_one_with_itself(seed):
    x, y = related(seed)
    for measure in (linear_cka, debiased_cka):
        assert measure(x, y) == pytest.approx(measure(y, x))
        assert measure(x, x) == pytest.approx(1.0)
    assert 0 < linear_cka(x, y) <= 1 + 1e-12


@property_test
@given(SEEDS)
def test_with_few_rows_cka_finds_similarity_in_noise_and_the_debiased_one_does_not(seed):
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(100, 300)), random.normal(size=(100, 300))
    assert linear_cka(x, y) > 0.6
    assert abs(debiased_cka(x, y)) < 0.12


def test_the_debiased_estimate_has_no_bias():
    random = np.random.default_rng(0)
    values = [debiased_cka(random.normal(size=(60, 80)), random.normal(size=(60, 80))) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_a_shuffle_takes_away_what_encoders_share():
    x, y = (CentredRows.of(part) for part in related(1, rows=400))
    order = np.random.default_rng(2).permutation(400)
    assert x.cka(y.in_order(order)) < 0.1 * x.cka(y)
    assert x.cka(y.in_order(np.arange(400))) == x.cka(y)


def halves(parts):
    x, y = parts
    middle = len(x) // 2
    return (x[:middle], y[:middle]), (x[middle:], y[middle:])


@property_test
@given(SEEDS)
def test_svcca_ignores_invertible_maps_of_what_it_keeps(seed):
    (train_x, train_y), (test_x, test_y) = halves(related(seed, rows=120))
    mixed = rotation(seed, 6) * np.geomspace(0.2, 5, 6) @ rotation(seed + 1, 6)
    plain = svcca((train_x, train_y), (test_x, test_y), 6)
    other = svcca((train_x, train_y @ mixed + 1.0), (test_x, test_y @ mixed + 1.0), 6)
    assert other.components == plain.components == 6
    assert other.held_out == pytest.approx(plain.held_out, abs=1e-6)
    assert other.trained == pytest.approx(plain.trained, abs=1e-6)


@property_test
@given(SEEDS)
def test_svcca_is_symmetric_and_one_for_a_rotated_copy(seed):
    train, test = halves(related(seed, rows=120))
    there, back = svcca(train, test, 4), svcca(train[::-1], test[::-1], 4)
    assert there.held_out == pytest.approx(back.held_out, abs=1e-8)
    turn = rotation(seed, 9)
    copy = svcca((train[0], train[0] @ turn), (test[0], test[0] @ turn), 4)
    assert copy.held_out == pytest.approx(1.0)
    assert copy.trained == pytest.approx(1.0)


@property_test
@given(SEEDS)
def test_without_anything_in_common_only_held_out_rows_tell(seed):
    """On the rows that directions were fitted on, even shuffled encoders correlate."""
    random = np.random.default_rng(seed)
    x, y = related(seed, rows=300, x=60, y=60)
    left, right = KeptComponents.of(x[:150], x[150:], 40), KeptComponents.of(y[:150], y[150:], 40)
    shuffled = left.svcca(right, 40, random.permutation(150))
    assert shuffled.trained > 0.4
    # One over the square root of held-out rows and components is the standard deviation of noise.
    assert abs(shuffled.held_out) < 6 / np.sqrt(150)
    assert left.svcca(right, 4).held_out > 0.5


@pytest.mark.parametrize("rows", [40, 400], ids=["fewer rows than dimensions", "more rows"])
def test_principal_components_are_those_of_the_singular_values(rows):
    random = np.random.default_rng(3)
    train, test = random.normal(size=(rows, 90)) + 2, random.normal(size=(50, 90))
    kept = KeptComponents.of(train, test, 5)
    left, values, right = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(kept.train.T @ left[:, :5]), np.eye(5), atol=1e-8)
    expected = (test - train.mean(axis=0)) @ right[:5].T / values[:5]
    np.testing.assert_allclose(np.abs(kept.test), np.abs(expected), atol=1e-8)


@pytest.mark.parametrize(
    ("rows", "columns", "asked", "kept"),
    [(60, 5, 64, 5), (21, 30, 64, 10), (300, 30, 8, 8)],
    ids=["dimensions", "rows", "as asked"],
)
def test_components_are_as_many_as_rows_and_dimensions_allow(rows, columns, asked, kept):
    random = np.random.default_rng(4)
    train, test = random.normal(size=(rows, columns)), random.normal(size=(10, columns))
    assert svcca((train, train), (test, test), asked).components == kept


def test_a_direction_that_does_not_vary_is_not_kept():
    x = np.random.default_rng(5).normal(size=(50, 4))
    x[:, 2] = x[:, 0] - x[:, 1]
    assert KeptComponents.of(x, x, 4).train.shape == (50, 3)
    constant = KeptComponents(np.eye(8)[:, :1], np.ones((4, 1)))
    assert constant.svcca(constant, 1).held_out == 0.0


X = np.random.default_rng(6).normal(size=(12, 3))
MISTAKES = {
    "rows that do not pair": (lambda: linear_cka(X, X[:-1]), "Z_B has 12 rows and Z_A has 11"),
    "debiased rows that do not pair": (lambda: debiased_cka(X, X[:-1]), "must embed the same text"),
    "too few rows": (lambda: linear_cka(X[:3], X[:3]), "3 rows are too few"),
    "rows that do not vary": (lambda: linear_cka(np.full((12, 3), 0.1), X), "do not vary"),
    "rows that are all orthogonal": (lambda: debiased_cka(np.eye(12), np.eye(12)), "without bias"),
    "not a number": (lambda: linear_cka(np.where(X > 1, np.nan, X), X), "NaN"),
    "test rows of another encoder": (lambda: svcca((X, X), (X[:, :2], X), 2), "2 columns where 3"),
    "test rows that do not pair": (lambda: svcca((X, X), (X, X[:-1]), 2), "must embed the same text"),
    "no component": (lambda: svcca((X, X), (X, X), 0), "no component"),
    "components of nothing": (lambda: svcca((X * 0, X), (X, X), 2), "no component"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_compared_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert caught.value.code in {ErrorCode.INPUT_INVALID, ErrorCode.SHAPE_MISMATCH, ErrorCode.NON_FINITE_INPUT}
    assert caught.value.hint
