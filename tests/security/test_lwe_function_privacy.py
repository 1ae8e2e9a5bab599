"""What hides the provider's operand under `lwe` is a fresh LWE sample.

The attacks on it have files of their own: the head from one answer, the noise of many answers, forged keys, the reuse
of slots.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.lwe_attacks import (
    N,
    centred,
    head_pair,
    integers,
    plane_integers,
    random_head,
)

from securealign.he.lwe import sampling
from securealign.he.lwe.evaluation import rerandomisation


def test_a_mask_is_a_fresh_lwe_sample_under_a_wide_secret():
    _, evaluator = head_pair(*random_head(1, features=2, classes=100), slots=3)
    plan, key = evaluator._plan, evaluator._key
    columns = slice(0, plan.width)
    mask = integers(rerandomisation(plan, key, columns, SeededEntropy(b"mask")))
    again = integers(rerandomisation(plan, key, columns, SeededEntropy(b"another mask")))
    assert not (mask == again).any()
    # The secret is the first that is drawn.
    secret = sampling.wide(SeededEntropy(b"mask"), (100, N)).astype(np.int64).astype(object)
    public, zeros = (plane_integers(planes_of) for planes_of in key.mask_tile(0, N, columns))
    errors = centred(mask[:, :N] - secret @ public).astype(np.int64)
    assert np.abs(errors).max() <= 29
    assert errors.var() == pytest.approx(3.19**2 + 1 / 12, rel=0.05)
    assert not centred(mask[:, N:] - secret @ zeros).any()
