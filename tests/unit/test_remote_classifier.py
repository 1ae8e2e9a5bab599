"""A provider's head among the estimators of scikit-learn."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from support.streams import CLASSES, DIM_B, StreamSite

import securealign.sklearn as module
from securealign.client.connection import OpenClient
from securealign.protocol.policy.rules import Policy
from securealign.sklearn import RemoteClassifier

TEXTS = [f"{'abcdefgh'[index % 8]}text {index % 50}" for index in range(90)]


class Letters(TransformerMixin, BaseEstimator):
    """Makes embeddings of texts."""

    def fit(self, X, y=None):
        return self

    def get_feature_names_out(self, names=None):
        return np.array(["length", "first", "second"])

    def transform(self, X):
        from support.streams import LetterEncoder

        return LetterEncoder().encode(list(X))


@pytest.fixture
def site(tmp_path, monkeypatch):
    made = StreamSite(tmp_path)
    opened = []

    def connect(config, *, head="", overrides=()):
        opened.append(made.connect(*overrides))
        return opened[-1]

    monkeypatch.setattr(module, "connect", connect)
    made.opened = opened
    yield made
    for client in opened:
        client.close()


@pytest.fixture
def classifier(site):
    return RemoteClassifier(site.folder / "client.toml")


def test_labels_probabilities_and_scores_of_texts_and_embeddings(site, classifier):
    labels = site.labels(TEXTS)
    vectors = site.encoder.encode(TEXTS)
    for inputs in (TEXTS, np.array(TEXTS), vectors, vectors.tolist()):
        assert classifier.fit(inputs).predict(inputs).tolist() == list(labels)
    assert classifier.classes_.tolist() == list(CLASSES)
    assert classifier.n_features_in_ == DIM_B
    shares = classifier.predict_proba(vectors)
    assert classifier.classes_[shares.argmax(axis=1)].tolist() == list(labels)
    assert classifier.decision_function(vectors).shape == shares.shape
    assert classifier.score(vectors, labels) == 1.0
    assert classifier.score(vectors, ["red"] * len(labels)) < 1.0


def test_fitting_sends_no_labels_and_asks_nothing(site, classifier):
    classifier.fit(TEXTS, ["secret"] * len(TEXTS))
    assert site.queries_charged == 0
    assert not site.sessions


def test_fitting_aligns_once_where_no_map_is_saved_and_not_for_inputs_that_do_not_fit(site, classifier, monkeypatch):
    fits = []
    monkeypatch.setattr(OpenClient, "aligned", property(lambda _: bool(fits)))
    monkeypatch.setattr(OpenClient, "align", lambda _: fits.append("align"))
    with pytest.raises(ValueError, match="2D array"):
        classifier.fit([])
    assert fits == []
    assert classifier.fit(TEXTS).fit(TEXTS).classes_.tolist() == list(CLASSES)
    assert fits == ["align"]


def test_what_does_not_fit_is_refused(classifier):
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)
    for inputs in (np.zeros(3), [], "a text", [["a"], ["b"]], [1, "a"], None, np.full((3, DIM_B), np.nan)):
        with pytest.raises(ValueError, match=r"2D array|convert|NaN"):
            classifier.fit(inputs)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        classifier.fit(TEXTS, ["red"])
    with pytest.raises(ValueError, match="continuous"):
        classifier.fit(TEXTS, np.linspace(0, 1, len(TEXTS)))
    wrong = f"X has {DIM_B + 1} features, but RemoteClassifier is expecting {DIM_B} features as input"
    for fitted in (TEXTS, np.ones((2, DIM_B))):
        for inputs in ([[0.5] * (DIM_B + 1)], np.zeros((3, DIM_B + 1))):
            with pytest.raises(ValueError, match=wrong):
                classifier.fit(fitted).predict(inputs)
    with pytest.raises(ValueError, match=wrong):
        classifier.fit(np.zeros((3, DIM_B + 1)))


def test_a_column_of_a_table_is_a_list_of_texts(site, classifier):
    class Column:
        def to_list(self):
            return TEXTS

    assert classifier.fit(Column()).predict(Column()).tolist() == list(site.labels(TEXTS))


def test_texts_forget_the_number_of_columns(site, classifier):
    vectors = site.encoder.encode(TEXTS)
    assert classifier.fit(vectors, site.labels(TEXTS)).n_features_in_ == DIM_B
    assert not hasattr(classifier.fit(TEXTS), "n_features_in_")


def test_a_search_tries_the_heads_of_a_provider(site, classifier):
    search = GridSearchCV(classifier, {"head": ["one", "other"]}, cv=2).fit(TEXTS, site.labels(TEXTS))
    assert search.cv_results_["mean_test_score"].tolist() == [1.0, 1.0]
    # One client for each head, and none for each fold.
    assert len(site.opened) == 2


def test_a_head_of_labels_alone_has_no_probabilities(tmp_path, monkeypatch):
    site = StreamSite(tmp_path, policy=Policy(allow_unencrypted=True, output="label"))
    with site.connect() as client:
        monkeypatch.setattr(module, "connect", lambda *_, **__: client)
        classifier = RemoteClassifier(site.folder / "client.toml").fit(TEXTS)
        assert not hasattr(classifier, "predict_proba")
        assert not hasattr(classifier, "decision_function")
        assert classifier.predict(TEXTS).tolist() == list(site.labels(TEXTS))


def test_it_stands_at_the_end_of_a_pipeline(site, classifier):
    pipeline = make_pipeline(Letters(), classifier).set_output(transform="default").fit(TEXTS)
    assert pipeline.predict(TEXTS).tolist() == list(site.labels(TEXTS))


def test_clones_of_a_cross_validation_share_one_client_and_pay_for_their_folds(site, classifier):
    scores = cross_val_score(classifier, site.encoder.encode(TEXTS), site.labels(TEXTS), cv=3)
    assert scores.tolist() == [1.0] * 3
    assert len(site.opened) == 1
    assert site.opened[0].status().queries == len(TEXTS)


def test_another_head_has_a_client_of_its_own_and_a_closed_one_is_replaced(site, classifier):
    classifier.fit(TEXTS)
    other = clone(classifier).set_params(head="other")
    other._client()
    assert len(site.opened) == 2
    site.opened[0].close()
    assert classifier.predict(TEXTS[:1]).tolist() == list(site.labels(TEXTS[:1]))
    assert len(site.opened) == 3
    classifier.close()


def test_a_pickle_holds_settings_and_no_client(classifier):
    copy = pickle.loads(pickle.dumps(classifier.fit(TEXTS)))  # noqa: S301 - made above
    assert copy.get_params() == classifier.get_params()
    assert copy.classes_.tolist() == list(CLASSES)
    assert "_opened" not in vars(copy)
