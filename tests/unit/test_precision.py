"""Under `lwe` at full parameters neither scale nor offset of embeddings costs precision, or a user is told."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.tiers import first_quick

from securealign import align_in_process, classify_in_process
from securealign.alignment.clear import ClearFit
from securealign.errors import SecurealignWarning

RANDOM = np.random.default_rng(0)
DIMENSION, CLASSES, QUERIES = 64, 5, 200
BASE = RANDOM.normal(size=(QUERIES, DIMENSION))
WEIGHT, BIAS = RANDOM.normal(size=(DIMENSION, CLASSES)) / 8, RANDOM.normal(size=CLASSES)
LOGITS = BASE @ WEIGHT + BIAS

#: What brings each into its units: the same logits in exact arithmetic.
HEADS = {
    "ordinary": (WEIGHT, BIAS, BASE),
    "tiny queries": (WEIGHT * 1e5, BIAS, BASE * 1e-5),
    "large queries": (WEIGHT * 1e-3, BIAS, BASE * 1e3),
    "an offset": (WEIGHT, BIAS - 1e4 * WEIGHT.sum(axis=0), BASE + 1e4),
    "a bias that all classes share": (WEIGHT, BIAS + 1e5, BASE),
    "one large column": (
        WEIGHT / np.where(np.arange(DIMENSION) == 3, 1e3, 1.0)[:, None],
        BIAS,
        BASE * np.where(np.arange(DIMENSION) == 3, 1e3, 1.0),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", first_quick(HEADS, 2))
def test_logits_are_as_precise_in_any_unit(name):
    weight, bias, queries = HEADS[name]
    run = classify_in_process(weight, bias, queries, suite="lwe")
    expected = queries @ weight + bias
    assert np.abs(run.logits - expected).max() < 1e-3
    np.testing.assert_array_equal(run.labels, LOGITS.argmax(axis=1))


@pytest.mark.thorough
def test_in_raw_coordinates_an_offset_costs_labels():
    # The control: what every answer would suffer if queries and head travelled as they are.
    from securealign.alignment.coordinates import Space

    weight, bias, queries = HEADS["an offset"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurealignWarning)
        patch.setattr(Space, "of_queries", classmethod(lambda cls, rows, entropy: cls.fixed(rows.shape[1], entropy)))
        run = classify_in_process(weight, bias, queries, suite="lwe")
    assert np.mean(run.labels == LOGITS.argmax(axis=1)) < 0.9


def test_uncertain_labels_are_warned_of():
    shared = 1e4 * RANDOM.normal(size=(DIMENSION, 1))
    with pytest.warns(SecurealignWarning, match="of the labels cannot be trusted"):
        classify_in_process(WEIGHT + shared, BIAS, BASE, suite="lwe")


ROWS, DIM_A, DIM_B = 400, 24, 32
Z_B = RANDOM.normal(size=(ROWS, DIM_B))
Z_A = Z_B @ RANDOM.normal(size=(DIM_B, DIM_A)) / 6 + 0.3 * RANDOM.normal(size=(ROWS, DIM_A))


def with_column(rows, column, values):
    changed = rows.copy()
    changed[:, column] = values
    return changed


PAIRS = {
    "ordinary": (Z_B, Z_A),
    "an offset of 10,000 on both sides": (Z_B + 1e4, Z_A + 1e4),
    "a column times 1,000 on both sides": (with_column(Z_B, 3, 1e3 * Z_B[:, 3]), with_column(Z_A, 5, 1e3 * Z_A[:, 5])),
    "a dead column on both sides": (with_column(Z_B, 3, 2.0), with_column(Z_A, 5, 3.0)),
    "collinear columns on both sides": (with_column(Z_B, 3, Z_B[:, 4]), with_column(Z_A, 5, Z_A[:, 6])),
    "tiny embeddings": (Z_B * 1e-8, Z_A * 1e-8),
}


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "kind"), first_quick([("ordinary", "ridge"), *((name, "soft") for name in PAIRS)], 3))
def test_a_map_is_as_precise_for_any_embeddings(name, kind):
    z_b, z_a = PAIRS[name]
    secure = align_in_process(z_a, z_b, suite="lwe", ridge="auto", map=kind).alignment
    fit = ClearFit.of(z_b, z_a)
    # Relative to the mapped rows' spread, in the coordinates in which a head is applied.
    found, expected = (fit.space.apply(one.apply(z_b)) for one in (secure, fit.map(kind)))
    assert np.linalg.norm(found - expected) <= 4e-4 * np.linalg.norm(expected - expected.mean(axis=0))
    assert secure.metadata["penalty"] == pytest.approx(fit.penalty)
