"""The provider's private coordinates: the same logits, columns of one kind, and nothing of the rows' own axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.entropy import SeededEntropy

from securealign.alignment.coordinates import STRENGTH, Space
from securealign.alignment.head import LinearHead
from securealign.alignment.scaling import Scaling
from securealign.errors import ErrorCode, InputError
from securealign.limits import SPACE_BYTES
from securealign.matrices import Rows

D, N, CLASSES = 6, 200, 3
MIXING = np.random.default_rng(1).normal(size=(D, D))


def embeddings(seed: int = 0, rows: int = N) -> np.ndarray:
    """Correlated embeddings around a mean."""
    return np.random.default_rng(seed).normal(size=(rows, D)) @ MIXING + np.arange(D)


def changed(change) -> np.ndarray:
    rows = embeddings()
    change(rows)
    return rows


def heavy(rows: np.ndarray) -> None:
    rows[:20] *= np.geomspace(20, 500, 20)[:, None]


def collinear(rows: np.ndarray) -> None:
    rows[:, 4], rows[:, 5] = rows[:, 0], rows[:, 1] - 2 * rows[:, 2]


#: Embeddings as encoders make them, and as they should not.
KINDS = {
    "ordinary": embeddings(),
    "far from zero": embeddings() + 1e4,
    "one large column": changed(lambda rows: rows.__setitem__((slice(None), 2), 1000 * rows[:, 2])),
    "a constant column": changed(lambda rows: rows.__setitem__((slice(None), 3), 0.1)),
    "two constant columns": changed(lambda rows: rows.__setitem__((slice(None), slice(3, 5)), [0.0, 7.0])),
    "a dead column": changed(lambda rows: rows.__setitem__((slice(None), 3), 1 + 4e-6 * rows[:, 3])),
    "collinear columns": changed(collinear),
    "heavy-tailed rows": changed(heavy),
    "fewer rows than columns": embeddings(rows=4),
    "small": 1e-12 * embeddings(),
    "large": 1e12 * embeddings(),
}
EACH = pytest.mark.parametrize("rows", KINDS.values(), ids=KINDS)


def space_of(rows: np.ndarray, seed: bytes = b"a") -> Space:
    return Space.of(Rows(rows), SeededEntropy(seed))


def inside(space: Space, rows: np.ndarray) -> np.ndarray:
    return space.rows(Rows(rows)).block(0, len(rows))


def a_head(rows: np.ndarray) -> LinearHead:
    """A head whose logits are of the size of one on the given embeddings, whatever their unit."""
    random = np.random.default_rng(5)
    spread = rows.std(axis=0)
    scale = np.maximum(spread, 1e-3 * np.median(spread))
    weight = random.normal(size=(D, CLASSES)) / scale[:, None]
    bias = random.normal(size=CLASSES) - rows.mean(axis=0) @ weight
    return LinearHead(weight, bias, ("a", "b", "c"))


@EACH
def test_a_folded_head_gives_the_same_logits(rows):
    head, space = a_head(rows), space_of(rows)
    folded = space.fold(head)
    assert folded.class_names == head.class_names
    other = rows[:3] + rows.std(axis=0)
    for queries in (rows, other):
        expected = head.logits(queries)
        np.testing.assert_allclose(folded.logits(space.apply(queries)), expected, atol=1e-8 * np.abs(expected).max())


@EACH
def test_unfolding_inverts_what_embeddings_are_brought_through(rows):
    space = space_of(rows)
    back, bias = space.unfold(np.eye(D), np.zeros(D))
    error = (space.apply(rows) @ back + bias - rows) / (np.abs(rows).max(axis=0) + space.scaling.scale)
    assert np.abs(error).max() < 1e-8


@EACH
def test_columns_have_the_norms_that_the_space_says_and_no_mean(rows):
    space = space_of(rows)
    within = inside(space, rows)
    assert space.count == len(rows)
    largest = space.norms.max()
    np.testing.assert_allclose(np.linalg.norm(within, axis=0), space.norms, rtol=1e-8, atol=1e-8 * largest)
    np.testing.assert_allclose(within.mean(axis=0), 0, atol=1e-8 * largest)
    assert space.total_squares == pytest.approx(np.sum(within**2))
    assert (space.rows(Rows(rows)).column_norms() >= np.linalg.norm(within, axis=0)).all()


@EACH
def test_directions_are_shrunken_as_their_share_of_the_spectrum_says(rows):
    """The eigenvalues of the rows within are N w / (w + rho t) of those of the scaled rows."""
    scaled = Scaling.of(Rows(rows)).apply(rows)
    scaled -= scaled.mean(axis=0)
    spectrum = np.linalg.eigvalsh(scaled.T @ scaled)
    expected = len(rows) * spectrum / (spectrum + STRENGTH * spectrum.mean())
    within = inside(space_of(rows), rows)
    np.testing.assert_allclose(np.linalg.eigvalsh(within.T @ within), expected, atol=1e-7 * len(rows))


@EACH
def test_no_column_outweighs_the_others_by_much(rows):
    norms = space_of(rows).norms
    assert norms.max() < 4 * np.sqrt(np.mean(norms**2))


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_neither_unit_nor_offset_of_embeddings_shows(factor, offset):
    plain, other = embeddings(), factor * (embeddings() + offset)
    np.testing.assert_allclose(inside(space_of(other), other), inside(space_of(plain), plain), atol=1e-6)


def test_heavy_tailed_rows_are_brought_to_one_norm_and_queries_keep_theirs():
    rows = KINDS["heavy-tailed rows"]
    space = space_of(rows)
    assert space.scaling.normalises
    centred = space.scaling.apply(rows)
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), space.scaling.norm)
    kept = np.linalg.norm(space.apply(rows), axis=1)
    assert kept.max() > 20 * np.median(kept)
    assert not space_of(embeddings()).scaling.normalises


def test_two_spaces_of_the_same_rows_differ_in_name_and_axes_and_in_nothing_else():
    rows = embeddings()
    one, two = space_of(rows, b"one"), space_of(rows, b"two")
    assert one.identifier != two.identifier
    assert len(one.identifier) == len(two.identifier) == SPACE_BYTES
    assert one.total_squares == pytest.approx(two.total_squares)
    first, second = inside(one, rows), inside(two, rows)
    assert not np.allclose(np.abs(first), np.abs(second), rtol=0.1)
    np.testing.assert_allclose(first @ first.T, second @ second.T, atol=1e-9)


def test_the_name_tells_nothing_of_the_rows():
    names = {space_of(rows, b"the same draws").identifier for rows in (embeddings(0), embeddings(1))}
    assert len(names) == 1


def test_without_entropy_a_space_is_not_rotated_and_has_no_name():
    rows = embeddings()
    plain = Space.of(Rows(rows))
    assert plain.identifier == bytes(SPACE_BYTES)
    np.testing.assert_array_equal(plain.inner, Space.of(Rows(rows)).inner)
    np.testing.assert_allclose(plain.inner, plain.inner.T, atol=1e-12)


def rotation_between(seed: bytes) -> np.ndarray:
    """The secret rotation: what leads from the space without one to the space with one."""
    rows = embeddings()
    plain, rotated = Space.of(Rows(rows)), space_of(rows, seed)
    return plain.inner.T @ np.linalg.inv(plain.inner @ plain.inner.T) @ rotated.inner


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=4))
def test_what_rotates_a_space_is_orthogonal(seed):
    rotation = rotation_between(seed)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(D), atol=1e-9)


def test_rotations_are_uniformly_distributed():
    """Entries of a uniform rotation have mean 0, variance 1 / d, and 3 / (d (d + 2)) for the mean of fourth powers."""
    drawn = np.array([rotation_between(bytes([number])) for number in range(200)])
    assert np.abs(drawn.mean(axis=0)).max() < 5 * np.sqrt(1 / D / 200)
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / D, atol=5 * np.sqrt(2 / 200) / D)
    assert (drawn**4).mean() == pytest.approx(3 / (D * (D + 2)), rel=0.1)
    # The first axis is not held in place by the factorisation.
    assert (drawn[:, 0, 0] > 0).mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("rows", [np.full((20, D), 0.1), embeddings()[:1]], ids=["constant", "one row"])
def test_embeddings_that_do_not_vary_are_refused(rows):
    with pytest.raises(InputError, match="the same embedding in all its rows"):
        space_of(rows)


def test_values_too_large_to_square_are_refused():
    with pytest.raises(InputError, match="too large to compute with") as caught:
        space_of(1e200 * embeddings())
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT
    assert caught.value.hint


def test_a_head_of_another_dimension_is_refused():
    with pytest.raises(InputError, match=f"takes {D + 1} dimensions and the public embeddings have {D}") as caught:
        space_of(embeddings()).fold(LinearHead(np.ones((D + 1, 2)), np.zeros(2), ("a", "b")))
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("count", [1, 3])
def test_queries_that_do_not_vary_are_rescaled(count, scale):
    queries = np.tile(scale * embeddings()[:1], (count, 1))
    space = Space.of_queries(Rows(queries), SeededEntropy(b"q"))
    head = LinearHead(np.random.default_rng(3).normal(size=(D, 2)) / scale, np.zeros(2), ("a", "b"))
    within = space.apply(queries)
    assert np.abs(within).max() <= 1 + 1e-9
    assert within.std(axis=0).max() == 0
    np.testing.assert_allclose(space.fold(head).logits(within), head.logits(queries), rtol=1e-9)


def test_a_query_of_zeros_is_a_query():
    space = Space.of_queries(Rows(np.zeros((1, D))), SeededEntropy(b"q"))
    np.testing.assert_array_equal(space.apply(np.zeros((1, D))), np.zeros((1, D)))


def test_queries_that_vary_shape_their_space():
    queries = embeddings(rows=3)
    space = Space.of_queries(Rows(queries), SeededEntropy(b"q"))
    assert space.count == 3
    head = a_head(queries)
    np.testing.assert_allclose(space.fold(head).logits(space.apply(queries)), head.logits(queries), atol=1e-8)


def test_a_fixed_space_leaves_embeddings_as_they_are_and_says_nothing_of_them():
    space = Space.fixed(D, SeededEntropy(b"f"))
    rows = embeddings()
    np.testing.assert_array_equal(space.apply(rows), rows)
    assert len(space.identifier) == SPACE_BYTES
    assert (space.total_squares, space.count) == (0.0, 0)
    head = a_head(rows)
    np.testing.assert_allclose(space.fold(head).logits(rows), head.logits(rows))


def test_made_up_embeddings_are_of_the_size_of_public_ones_and_always_the_same():
    rows = embeddings()
    space = space_of(rows)
    made = space.typical(5000)
    np.testing.assert_array_equal(made, space.typical(5000))
    assert np.mean(made**2) * D == pytest.approx(space.total_squares / N, rel=0.05)


def test_a_space_shows_nothing_of_itself_when_it_is_printed():
    space = space_of(embeddings())
    assert repr(space) == f"<Space of {D} dimensions>"
