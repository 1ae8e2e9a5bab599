"""`LinearAligner` behaves like any estimator of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import securealign
from securealign import LinearAligner
from securealign.errors import ConfigurationError

RANDOM = np.random.default_rng(1)
Z_B = RANDOM.normal(size=(80, 6))
Z_A = Z_B @ RANDOM.normal(size=(6, 4)) + 0.01 * RANDOM.normal(size=(80, 4))


def test_parameters_are_read_set_and_cloned():
    aligner = LinearAligner(ridge=0.5)
    assert aligner.get_params() == {"ridge": 0.5, "map": "ridge"}
    assert clone(aligner.fit(Z_B, Z_A)).get_params() == {"ridge": 0.5, "map": "ridge"}
    assert aligner.set_params(ridge="auto", map="soft").get_params() == {"ridge": "auto", "map": "soft"}
    assert repr(LinearAligner(ridge=0.5)) == "LinearAligner(ridge=0.5)"


def test_fit_returns_the_estimator_and_leaves_its_arguments_alone():
    before = Z_B.copy(), Z_A.copy()
    aligner = LinearAligner()
    assert aligner.fit(Z_B, Z_A) is aligner
    np.testing.assert_array_equal(Z_B, before[0])
    np.testing.assert_array_equal(Z_A, before[1])
    np.testing.assert_allclose(aligner.transform(Z_B), Z_A, atol=0.1)
    np.testing.assert_array_equal(LinearAligner().fit_transform(Z_B, Z_A), aligner.transform(Z_B))


def test_an_aligner_that_is_not_fitted_says_so(tmp_path):
    with pytest.raises(NotFittedError):
        LinearAligner().transform(Z_B)
    with pytest.raises(NotFittedError):
        LinearAligner().save_pretrained(tmp_path)
    with pytest.raises(NotFittedError):
        clone(LinearAligner().fit(Z_B, Z_A)).transform(Z_B)


def test_it_works_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), LinearAligner(ridge=1e-2)).fit(Z_B, Z_A)
    np.testing.assert_allclose(pipeline.transform(Z_B), Z_A, atol=0.1)
    np.testing.assert_allclose(pipeline[-1].transform(pipeline[0].transform(Z_B)), pipeline.transform(Z_B))


def test_a_provider_head_applies_to_what_it_transforms():
    labels = (Z_A[:, 0] > 0).astype(int)
    head = LogisticRegression().fit(Z_A, labels)
    assert head.score(LinearAligner().fit(Z_B, Z_A).transform(Z_B), labels) > 0.95


def test_the_penalty_can_be_searched():
    class Scored(LinearAligner):
        def score(self, X, y):
            return -float(np.mean((self.transform(X) - y) ** 2))

    assert np.isfinite(cross_val_score(Scored(), Z_B, Z_A, cv=3)).all()


def test_single_precision_gives_nearly_the_same_map():
    double = LinearAligner().fit(Z_B, Z_A).map_
    single = LinearAligner().fit(Z_B.astype(np.float32), Z_A.astype(np.float32)).map_
    np.testing.assert_allclose(single.weight, double.weight, atol=1e-5)
    assert single.weight.dtype == np.float64


def test_a_fitted_aligner_can_be_saved_and_read(tmp_path):
    aligner = LinearAligner(ridge="auto", map="soft").fit(Z_B, Z_A)
    aligner.save_pretrained(tmp_path / "map")
    loaded = LinearAligner.from_pretrained(tmp_path / "map")
    np.testing.assert_array_equal(loaded.transform(Z_B), aligner.transform(Z_B))
    assert loaded.get_params() == {"ridge": "auto", "map": "soft"}
    assert loaded.map_.metadata == aligner.map_.metadata


@pytest.mark.parametrize("kind", ["", "Soft", "rotation", None])
def test_a_kind_of_map_that_there_is_not_is_refused(kind):
    with pytest.raises(ConfigurationError, match="There is no map") as caught:
        LinearAligner(map=kind).fit(Z_B, Z_A)
    assert caught.value.hint == "Use one of 'ridge', 'soft'."


def test_the_two_kinds_of_map_differ_where_relations_are_noisy():
    noisy = Z_A + 3 * np.random.default_rng(2).normal(size=Z_A.shape)
    ridge, soft = (LinearAligner("auto", kind).fit(Z_B, noisy).transform(Z_B) for kind in ("ridge", "soft"))
    assert soft.std() > 1.01 * ridge.std()


def test_it_is_part_of_the_public_interface():
    assert securealign.LinearAligner is LinearAligner
    with pytest.raises(AttributeError):
        _ = securealign.NonlinearAligner
