"""The checks of scikit-learn for estimators, against a client that embeddings of any dimension can be given to."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks

import securealign.sklearn as module
from securealign.sklearn import RemoteClassifier

pytestmark = [
    pytest.mark.skipif(not hasattr(estimator_checks, "estimator_checks_generator"), reason="needs scikit-learn 1.6"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings(f"ignore::{SkipTestWarning.__module__}.{SkipTestWarning.__name__}"),
]

NAMES = "the check compares the labels with numbers, or with its own, and labels are the provider's names"
UNTAUGHT = "the check wants the labels of y learned, and nothing is trained"
#: What cannot hold of a classifier that is not trained here, and why.
CANNOT_HOLD = {
    "check_classifier_data_not_an_array": NAMES,
    "check_classifiers_classes": UNTAUGHT,
    "check_classifiers_one_label": UNTAUGHT,
    "check_classifiers_train": UNTAUGHT,
    "check_decision_proba_consistency": "the check takes two classes, and the provider's head has three",
    "check_estimators_pickle": NAMES,
    "check_fit_idempotent": NAMES,
    "check_fit_score_takes_y": NAMES,
    "check_methods_sample_order_invariance": NAMES,
    "check_methods_subset_invariance": NAMES,
    "check_pipeline_consistency": NAMES,
    "check_supervised_y_2d": NAMES,
}
#: Scores of earlier releases take labels and names together.
HOLD_BEFORE_1_9 = {"check_fit_score_takes_y", "check_pipeline_consistency"}


class AnyDimension(int):
    """Equals every dimension."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return 0


class Head:
    """A client whose answers come from here: the class is that of the nearest mean."""

    closed, aligned, output, dimension = False, True, "logits", AnyDimension()
    classes_ = ("art", "law", "sea")

    def learn(self, X, y):
        self.classes_ = tuple(np.unique(y))
        self.means = np.array([X[y == name].mean(axis=0) for name in self.classes_])

    def decision_function(self, X):
        means = getattr(self, "means", np.arange(3.0)[:, None] * np.ones(X.shape[1]))
        return -((X[:, None] - means) ** 2).sum(axis=2)

    def predict(self, X):
        return np.array(self.classes_)[self.decision_function(X).argmax(axis=1)]

    def predict_proba(self, X):
        shares = np.exp(self.decision_function(X) - self.decision_function(X).max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


class Taught(RemoteClassifier):
    """The same with a head that learned y, as if the provider had it: what else the checks want can be seen."""

    def fit(self, X, y=None):
        super().fit(X, y)
        matrix = np.asarray(X, dtype=np.float64)
        self._client().learn(matrix, np.zeros(len(matrix)) if y is None else np.asarray(y).ravel())
        self.classes_ = np.array(self._client().classes_)
        return self


def outcomes(monkeypatch, estimator, expected=None):
    """Return the names of the checks that ran, by whether they passed."""
    head = Head()
    monkeypatch.setattr(module, "_open", {})
    monkeypatch.setattr(module, "connect", lambda *_, **__: head)
    results = estimator_checks.check_estimator(
        estimator, on_fail=None, on_skip=None, expected_failed_checks=expected or {}
    )
    found = {"passed": set(), "failed": set(), "xfail": set(), "skipped": set()}
    for result in results:
        found[result["status"]].add(result["check_name"])
    return found


def test_everything_holds_for_a_head_that_knows_the_labels(monkeypatch):
    found = outcomes(monkeypatch, Taught())
    assert found["failed"] == set()
    assert len(found["passed"]) > 35


def test_what_does_not_hold_for_a_head_of_others_is_listed_with_a_reason(monkeypatch):
    found = outcomes(monkeypatch, RemoteClassifier(), CANNOT_HOLD)
    assert found["failed"] == set()
    # A check that is listed and passes is to be taken from the list. Some run several times, with other inputs.
    version = tuple(map(int, sklearn.__version__.split(".")[:2]))
    assert found["passed"] & set(CANNOT_HOLD) == (HOLD_BEFORE_1_9 if version < (1, 9) else set())
