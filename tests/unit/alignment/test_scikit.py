"""A head imported from scikit-learn predicts what the model itself predicts, or the import is refused in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from securealign import LinearHead
from securealign.errors import InputError

RANDOM = np.random.default_rng(5)
TRUE = RANDOM.integers(0, 4, size=160)
#: Four clouds that overlap, so that models make mistakes, in dimensions of different scales and means.
ROWS = (RANDOM.normal(size=(4, 6))[TRUE] + RANDOM.normal(size=(160, 6))) * [1, 5, 0.2, 1, 2, 1] + [0, 3, 0, -2, 0, 1]
STANDARD = StandardScaler().fit_transform(ROWS)
UNSEEN = RANDOM.normal(size=(300, 6)) * [2, 10, 0.4, 2, 4, 2] + [0, 3, 0, -2, 0, 1]
NAMES = np.array(["west", "north", "south", "east"])

MODELS = {
    "logistic": LogisticRegression(max_iter=5000),
    "logistic without intercept": LogisticRegression(max_iter=5000, fit_intercept=False),
    "logistic, penalty chosen": LogisticRegressionCV(Cs=[0.01, 1.0], cv=2, max_iter=5000),
    "ridge": RidgeClassifier(),
    "ridge without intercept": RidgeClassifier(fit_intercept=False),
    "ridge, penalty chosen": RidgeClassifierCV(alphas=[0.1, 10.0]),
    "stochastic gradient": SGDClassifier(random_state=0),
    "stochastic gradient, sparse": SGDClassifier(random_state=0, penalty="l1"),
    "perceptron": Perceptron(random_state=0),
    "support vectors": LinearSVC(random_state=0, max_iter=50_000),
    "support vectors without intercept": LinearSVC(random_state=0, fit_intercept=False, max_iter=50_000),
    "discriminant analysis": LinearDiscriminantAnalysis(),
    "one against the rest, logistic": OneVsRestClassifier(LogisticRegression(max_iter=5000)),
    "one against the rest, support vectors": OneVsRestClassifier(LinearSVC(random_state=0, max_iter=50_000)),
    "one against the rest, pipelines": OneVsRestClassifier(make_pipeline(StandardScaler(), RidgeClassifier())),
    "search": GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.01, 1.0]}, cv=2),
    "search for a pipeline": GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)), {"logisticregression__C": [0.01, 1.0]}, cv=2
    ),
    "pipeline around a search": make_pipeline(
        StandardScaler(), GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.01, 1.0]}, cv=2)
    ),
}
STEPS = {
    "standardised": StandardScaler(),
    "centred": StandardScaler(with_std=False),
    "scaled": StandardScaler(with_mean=False),
    "neither": StandardScaler(with_mean=False, with_std=False),
    "range": MinMaxScaler((-2, 3)),
    "largest": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust, centred": RobustScaler(with_scaling=False),
    "robust, scaled": RobustScaler(with_centering=False),
    "principal components": PCA(4),
    "whitened": PCA(4, whiten=True),
    "singular vectors": TruncatedSVD(4, random_state=0),
    "passed through": "passthrough",
    "a pipeline": make_pipeline(MaxAbsScaler(), StandardScaler()),
}


def fitted(model, labels):
    return clone(model).fit(STANDARD, labels)


def check_equal(model):
    assert LinearHead.from_sklearn(model).predict(UNSEEN) == [str(label.item()) for label in model.predict(UNSEEN)]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # scikit-learn announces other defaults
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_linear_model_and_its_head_predict_the_same(name, classes):
    model = fitted(MODELS[name], np.sort(NAMES)[TRUE % classes])
    check_equal(model)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("classes", [2, 4])
def test_scalers_before_a_model_are_folded_into_its_head(step, classes):
    model = make_pipeline(STEPS[step], MinMaxScaler(), RidgeClassifier()).fit(ROWS, TRUE % classes)
    check_equal(model)
    head = LinearHead.from_sklearn(model)
    scores = model.decision_function(UNSEEN)
    logits = head.logits(UNSEEN)
    np.testing.assert_allclose(logits if classes > 2 else logits[:, 1] - logits[:, 0], scores, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", ["logistic", "stochastic gradient, sparse"])
def test_sparse_coefficients_are_read(name, classes):
    model = fitted(MODELS[name], TRUE % classes).sparsify()
    check_equal(model)


def test_a_linear_kernel_between_two_classes_is_linear():
    check_equal(SVC(kernel="linear").fit(ROWS, NAMES[TRUE % 2]))


@given(
    weight=st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    labels=st.sampled_from([[-1, 1], [1, 2], [0, 1], [0.0, 1.0], [-2.0, 3.0], [False, True], ["no", "yes"]]),
)
@settings(max_examples=50, deadline=None)
def test_the_second_name_is_that_of_the_second_class_whatever_the_labels_are(weight, labels):
    model = LogisticRegression(max_iter=5000).fit(STANDARD, np.array(labels)[TRUE % 2])
    model.coef_ = np.array([weight])
    head = LinearHead.from_sklearn(model, ("negative", "positive"))
    found = model.predict(UNSEEN)
    assert head.predict(UNSEEN) == ["positive" if label == model.classes_[1] else "negative" for label in found]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([-1, 1], ("-1", "1")),
        ([0.0, 2.0], ("0.0", "2.0")),
        ([False, True], ("False", "True")),
        (["a", "b"], ("a", "b")),
        (np.array(["x", "y"], dtype=object), ("x", "y")),
    ],
    ids=["integers", "floats", "truth values", "text", "objects"],
)
def test_without_names_a_class_is_named_by_its_label(labels, names):
    model = fitted(LogisticRegression(), np.asarray(labels)[TRUE % 2])
    assert LinearHead.from_sklearn(model).class_names == names


def test_integer_classes_from_zero_are_indices_even_where_one_is_missing():
    kept = TRUE != 1
    model = LogisticRegression(max_iter=5000).fit(ROWS[kept], TRUE[kept])
    assert LinearHead.from_sklearn(model, NAMES.tolist()).class_names == ("west", "south", "east")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([-1, 1], ("a", "b", "c"), "3 class names do not fit a model of 2 classes"),
        ([1, 2], ("a",), "1 class names do not fit a model of 2 classes"),
        (["cat", "dog"], ("dog", "cat"), "in another order"),
        (["cat", "dog"], {"cat": "Katze"}, "'dog' has no name"),
        ([0, 1], ("a", "a"), "the same name"),
        ([0, 1], ("a", "b\n"), "control characters"),
    ],
    ids=["too many", "too few", "labels exchanged", "a label missing", "twice the same", "a line break"],
)
def test_names_that_do_not_belong_to_the_classes_are_refused(labels, names, message):
    model = fitted(LogisticRegression(), np.array(labels)[TRUE % 2])
    with pytest.raises(InputError, match=message) as caught:
        LinearHead.from_sklearn(model, names)
    assert caught.value.hint


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(3, random_state=0),
        KNeighborsClassifier(),
        GaussianNB(),
        SVC(),
        SVC(kernel="linear"),
        OneVsOneClassifier(RidgeClassifier()),
        OneVsRestClassifier(GaussianNB()),
        VotingClassifier([("ridge", RidgeClassifier())]),
        LinearRegression(),
        make_pipeline(StandardScaler(), GaussianNB()),
    ],
    ids=lambda model: repr(model)[:40],
)
def test_what_is_not_linear_is_refused_by_name(model):
    fitted_model = model.fit(ROWS, TRUE % 3)
    name = type(model).__name__ if type(model).__name__ not in {"Pipeline", "OneVsRestClassifier"} else "GaussianNB"
    with pytest.raises(InputError, match=f"{name} is no linear classifier") as caught:
        LinearHead.from_sklearn(fitted_model)
    assert "LogisticRegression" in caught.value.hint


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Normalizer(), "Normalizer is no linear step"),
        (QuantileTransformer(n_quantiles=10), "QuantileTransformer is no linear step"),
        (MinMaxScaler(clip=True), "MinMaxScaler with clip=True is no linear step"),
    ],
    ids=["norms", "quantiles", "clipping"],
)
def test_a_step_that_is_not_linear_is_refused_by_name(step, message):
    with pytest.raises(InputError, match=message) as caught:
        LinearHead.from_sklearn(make_pipeline(step, RidgeClassifier()).fit(ROWS, TRUE))
    assert "StandardScaler" in caught.value.hint


class Contrary(LogisticRegression):
    """A model derived from a linear one that predicts something else."""

    def predict(self, X):
        return self.classes_[np.argmin(self.decision_function(X), axis=1)]


class Cubed(StandardScaler):
    """A scaler derived from a linear one that transforms otherwise."""

    def transform(self, X, copy=None):
        return super().transform(X, copy) ** 3


def test_a_model_derived_from_a_linear_one_is_refused():
    with pytest.raises(InputError, match="Contrary is no linear classifier"):
        LinearHead.from_sklearn(Contrary().fit(STANDARD, TRUE))
    with pytest.raises(InputError, match="Cubed is no linear step"):
        LinearHead.from_sklearn(make_pipeline(Cubed(), RidgeClassifier()).fit(ROWS, TRUE))


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), RidgeClassifier().fit(ROWS, TRUE)),
        GridSearchCV(LogisticRegression(), {"C": [1]}),
        GridSearchCV(RidgeClassifier(), {"alpha": [1]}, refit=False, cv=2).fit(ROWS, TRUE),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=["a model", "a pipeline", "a scaler", "a search", "a search without refit", "one against the rest"],
)
def test_what_is_not_fitted_is_refused(model):
    with pytest.raises(InputError, match="is not fitted") as caught:
        LinearHead.from_sklearn(model)
    assert "fit" in caught.value.hint


@pytest.mark.parametrize(
    "model", [RidgeClassifier(), OneVsRestClassifier(LogisticRegression())], ids=["ridge", "one against the rest"]
)
def test_several_labels_for_a_text_are_refused(model):
    several = np.stack([TRUE % 2, TRUE // 2, TRUE == 3], axis=1).astype(int)
    with pytest.raises(InputError, match=f"{type(model).__name__} gives several labels"):
        LinearHead.from_sklearn(model.fit(ROWS, several))


@pytest.mark.parametrize("model", [LogisticRegression, "model.pkl", None, np.zeros((2, 2))])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(InputError, match=r"is no model of scikit-learn"):
        LinearHead.from_sklearn(model)
