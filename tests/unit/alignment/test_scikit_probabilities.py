"""A head has the scores and the probabilities of its model, whatever the model is, or the model is refused by name."""

from __future__ import annotations

import warnings
from inspect import signature

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import IncrementalPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import all_estimators

from securealign import LinearHead, OutputModeError
from securealign.alignment.coordinates import Space
from securealign.alignment.links import probabilities
from securealign.errors import ErrorCode, InputError
from securealign.matrices import Rows

RANDOM = np.random.default_rng(11)
TRUE = RANDOM.integers(0, 4, size=120)
ROWS = (RANDOM.normal(size=(4, 5))[TRUE] + RANDOM.normal(size=(120, 5))) * [1, 5, 0.2, 1, 2] + [0, 3, 0, -2, 0]
UNSEEN = RANDOM.normal(size=(200, 5)) * [2, 10, 0.4, 2, 4] + [0, 3, 0, -2, 0]
NAMES = np.array(["west", "north", "south", "east"])
#: scikit-learn announces other defaults and removals, and some of these fits need more steps than they get.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::sklearn.exceptions.ConvergenceWarning")


def shrunk_centroids():
    try:
        return NearestCentroid(priors=[0.1, 0.2, 0.3, 0.4], shrink_threshold=0.1)
    except TypeError:  # scikit-learn 1.5 has no priors
        return NearestCentroid(shrink_threshold=0.1)


LIKELY = {
    "logistic": LogisticRegression(),
    "logistic, penalty chosen": LogisticRegressionCV(Cs=[0.1, 1.0], cv=2),
    "descent, logistic": SGDClassifier(loss="log_loss", random_state=0),
    "descent, modified Huber": SGDClassifier(loss="modified_huber", random_state=0),
    "discriminant analysis": LinearDiscriminantAnalysis(),
    "multinomial": make_pipeline(MinMaxScaler(), MultinomialNB()),
    "complement": make_pipeline(MinMaxScaler(), ComplementNB()),
    "Bernoulli": make_pipeline(MinMaxScaler(), BernoulliNB(binarize=None)),
    "one against the rest, logistic": OneVsRestClassifier(LogisticRegression()),
    "one against the rest, modified Huber": OneVsRestClassifier(SGDClassifier(loss="modified_huber", random_state=0)),
    "one against the rest, multinomial": make_pipeline(MinMaxScaler(), OneVsRestClassifier(MultinomialNB())),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    "random search": RandomizedSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, random_state=0),
    "best columns": make_pipeline(StandardScaler(), SelectKBest(k=3), LogisticRegression()),
    "columns that vary": make_pipeline(VarianceThreshold(0.5), RobustScaler(), LogisticRegression()),
    "columns of a model": make_pipeline(SelectFromModel(LogisticRegression()), LogisticRegression()),
    "columns left over": make_pipeline(RFE(LogisticRegression(), n_features_to_select=2), LogisticRegression()),
    "components": make_pipeline(IncrementalPCA(3), LogisticRegression()),
}
MARGINS = {
    "support vectors": LinearSVC(),
    "ridge": RidgeClassifier(),
    "perceptron": Perceptron(),
    "descent, hinge": SGDClassifier(random_state=0),
    "one against the rest, ridge": OneVsRestClassifier(RidgeClassifier()),
}


def labels_of(classes):
    return np.sort(NAMES[:classes])[TRUE % classes]


def check_scores(model, head):
    logits = head.logits(UNSEEN)
    found = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits
    if hasattr(model, "decision_function"):
        np.testing.assert_allclose(found, model.decision_function(UNSEEN), rtol=1e-9, atol=1e-9)
    assert head.predict(UNSEEN) == model.predict(UNSEEN).tolist()


@pytest.mark.parametrize("name", LIKELY)
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_and_probabilities_are_those_of_the_model(name, classes):
    model = clone(LIKELY[name]).fit(ROWS, labels_of(classes))
    head = LinearHead.from_sklearn(model)
    check_scores(model, head)
    given = model.predict_proba(UNSEEN)
    # scikit-learn gives no class to some rows; a head then gives all of them alike.
    some = np.nan_to_num(given).any(axis=1)
    np.testing.assert_allclose(head.predict_proba(UNSEEN)[some], given[some], atol=1e-9)
    assert some.mean() > 0.5


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize("classes", [2, 4])
def test_margins_are_no_probabilities(name, classes):
    model = clone(MARGINS[name]).fit(ROWS, labels_of(classes))
    head = LinearHead.from_sklearn(model)
    check_scores(model, head)
    assert head.link == "margin"
    with pytest.raises(OutputModeError, match="margins") as caught:
        head.predict_proba(UNSEEN)
    assert caught.value.code is ErrorCode.OUTPUT_REFUSED
    assert "LogisticRegression" in caught.value.hint


@pytest.mark.parametrize("classes", [2, 4])
def test_the_nearest_of_equally_likely_centroids_has_labels_alone(classes):
    """Its predict compares distances as they are, its predict_proba distances in deviations."""
    model = NearestCentroid().fit(ROWS, labels_of(classes))
    head = LinearHead.from_sklearn(model)
    assert head.predict(UNSEEN) == model.predict(UNSEEN).tolist()
    assert head.link == "margin"


def test_centroids_that_are_not_equally_likely_have_probabilities():
    model = shrunk_centroids().fit(ROWS, labels_of(4))
    head = LinearHead.from_sklearn(model)
    assert head.predict(UNSEEN) == model.predict(UNSEEN).tolist()
    if hasattr(model, "class_prior_"):
        np.testing.assert_allclose(head.predict_proba(UNSEEN), model.predict_proba(UNSEEN), atol=1e-9)


def test_a_choice_among_losses_by_class_leaves_margins():
    search = GridSearchCV(SGDClassifier(random_state=0), {"loss": ["hinge", "log_loss"]}, cv=2)
    model = OneVsRestClassifier(search).fit(ROWS, labels_of(4))
    model.estimators_[0].best_estimator_.loss = "hinge"
    model.estimators_[1].best_estimator_.loss = "log_loss"
    assert LinearHead.from_sklearn(model).link == "margin"


@pytest.mark.parametrize(
    ("several", "classes", "solver"), [("ovr", 4, "lbfgs"), ("auto", 4, "liblinear"), ("multinomial", 2, "lbfgs")]
)
def test_older_releases_choose_between_softmax_and_one_against_the_rest(several, classes, solver):
    model = LogisticRegression().fit(ROWS, labels_of(classes))
    model.multi_class, model.solver = several, solver
    scores = model.decision_function(UNSEEN)
    if classes == 2:
        expected = probabilities(np.stack([-scores, scores], axis=1), "softmax")
    else:
        expected = model._predict_proba_lr(UNSEEN)
    np.testing.assert_allclose(LinearHead.from_sklearn(model).predict_proba(UNSEEN), expected, atol=1e-12)


def test_scores_of_no_class_are_shared_among_all():
    logits = np.array([[-3.0, -2.0, -5.0], [-3.0, 0.0, 2.0]])
    np.testing.assert_allclose(probabilities(logits, "huber"), [[1 / 3] * 3, [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(probabilities(np.full((1, 2), -1e4), "ovr"), [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["01", "1"], ("01", "1")),
        (np.array([3, 7], dtype=np.uint8), ("3", "7")),
        (np.array([False, True]), ("False", "True")),
        (np.array(["x", "y"], dtype=object), ("x", "y")),
    ],
    ids=["digits", "bytes", "truth values", "objects"],
)
def test_labels_of_any_type_keep_their_spelling(labels, names):
    head = LinearHead.from_sklearn(LogisticRegression().fit(ROWS, np.asarray(labels)[TRUE % 2]))
    assert head.class_names == names


def test_labels_that_would_merge_are_refused_by_name():
    model = LogisticRegression().fit(ROWS, TRUE % 2)
    model.classes_ = np.array([1, "1"], dtype=object)
    with pytest.raises(InputError, match="The classes 1 and '1' have the same name '1'"):
        LinearHead.from_sklearn(model)
    assert LinearHead.from_sklearn(model, {1: "one", "1": "text"}).class_names == ("one", "text")


REFUSED = {
    "CalibratedClassifierCV": CalibratedClassifierCV(LogisticRegression(), cv=2),
    "BernoulliNB with binarize=0.0": BernoulliNB(),
    "NearestCentroid with the metric 'manhattan'": NearestCentroid(metric="manhattan"),
    "OneVsRestClassifier of NearestCentroid": OneVsRestClassifier(NearestCentroid()),
    "FunctionTransformer": make_pipeline(FunctionTransformer(np.abs), LogisticRegression()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"{name}.* is no linear") as caught:
        LinearHead.from_sklearn(clone(REFUSED[name]).fit(ROWS, TRUE))
    assert caught.value.hint


def made(kind):
    """Return a classifier of its defaults, of logistic regressions where it is made of others."""
    needed = {name for name, each in signature(kind).parameters.items() if each.default is each.empty}
    part = LogisticRegression()
    model = kind(**{name: part if name == "estimator" else [("one", part)] for name in needed})
    few = {"n_estimators": 2, "max_iter": 20, "n_restarts_optimizer": 0, "cv": 2}
    return model.set_params(**{name: value for name, value in few.items() if name in model.get_params(deep=False)})


def imported(model):
    """Return the head of a model, or the message that refuses it."""
    try:
        return LinearHead.from_sklearn(model)
    except InputError as error:
        return error.message


@pytest.mark.thorough
def test_every_classifier_of_scikit_learn_is_folded_exactly_or_refused_by_name():
    rows, labels = MinMaxScaler().fit_transform(ROWS[:60]), TRUE[:60] % 3
    unseen = np.abs(UNSEEN[:50]) / 10
    folded, refused = set(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = dict(all_estimators(type_filter="classifier"))
    for name, kind in kinds.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = made(kind).fit(rows, labels)
            except (ValueError, AttributeError, IndexError):  # of several labels, or of counts
                continue
            head = imported(model)
            if isinstance(head, str):
                assert head.startswith(name)
                refused.add(name)
                continue
            assert head.predict(unseen) == list(map(str, model.predict(unseen))), name
            if head.link != "margin":
                np.testing.assert_allclose(head.predict_proba(unseen), model.predict_proba(unseen), atol=1e-9)
            folded.add(name)
    expected = {"LogisticRegression", "LogisticRegressionCV", "RidgeClassifier", "RidgeClassifierCV", "SGDClassifier"}
    expected |= {"Perceptron", "PassiveAggressiveClassifier", "LinearSVC", "LinearDiscriminantAnalysis"}
    expected |= {"NearestCentroid", "OneVsRestClassifier", "MultinomialNB", "ComplementNB"}
    assert folded == expected & {*kinds}
    assert {"GaussianNB", "BernoulliNB", "CalibratedClassifierCV", "RandomForestClassifier", "SVC"} <= refused


def test_the_link_is_saved_and_folded_with_the_head(tmp_path):
    head = LinearHead.from_sklearn(clone(LIKELY["descent, logistic"]).fit(ROWS, labels_of(4)))
    assert head.link == "ovr"
    head.save_pretrained(tmp_path)
    assert LinearHead.from_pretrained(tmp_path).link == "ovr"
    space = Space.of(Rows(ROWS))
    np.testing.assert_allclose(space.fold(head).predict_proba(space.apply(UNSEEN)), head.predict_proba(UNSEEN))


@pytest.mark.parametrize("link", ["sigmoid", "probit", None, ["softmax"]])
def test_a_link_that_does_not_fit_is_refused(link):
    with pytest.raises(InputError, match="does not give the probabilities of 3 classes") as caught:
        LinearHead(np.ones((2, 3)), np.zeros(3), ("a", "b", "c"), link=link)
    assert "sigmoid is for two classes" in caught.value.hint


@pytest.mark.parametrize(("metadata", "link"), [({"inverse_penalty": 1.0}, "softmax"), ({}, "margin")])
def test_a_head_that_was_saved_without_a_link(tmp_path, metadata, link):
    head = LinearHead(np.eye(2), np.zeros(2), ("a", "b"), metadata)
    head.save_pretrained(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"link": "softmax",', ""))
    assert LinearHead.from_pretrained(tmp_path).link == link


def test_two_names_alike_are_refused():
    with pytest.raises(InputError, match="Two classes have the same name 'a'"):
        LinearHead(np.eye(3), np.zeros(3), ("a", "b", "a"))
