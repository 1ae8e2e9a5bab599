"""A head is what scikit-learn would predict, as one matrix and one vector."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from securealign import LinearHead
from securealign.errors import ErrorCode, InputError

RANDOM = np.random.default_rng(2)
CENTRES = 2.0 * RANDOM.normal(size=(4, 5))
LABELS = RANDOM.integers(0, 4, size=400)
#: Features of very different scales, some of them around a large mean.
EMBEDDINGS = (CENTRES[LABELS] + RANDOM.normal(size=(400, 5))) * [1, 10, 0.1, 1, 100] + [0, 50, 0, -3, 0]
STANDARDISED = StandardScaler().fit_transform(EMBEDDINGS)
NAMES = ("north", "east", "south", "west")


def pipeline(labels: np.ndarray, inverse_penalty: float = 1.0):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=2000))
    return model.fit(EMBEDDINGS, labels)


@pytest.mark.parametrize("inverse_penalty", [0.01, 1.0])
def test_a_head_predicts_what_the_pipeline_predicts(inverse_penalty):
    head = LinearHead.fit(EMBEDDINGS, LABELS.tolist(), NAMES, inverse_penalty=inverse_penalty)
    model = pipeline(LABELS, inverse_penalty)
    assert head.predict(EMBEDDINGS) == [NAMES[label] for label in model.predict(EMBEDDINGS)]
    np.testing.assert_allclose(head.logits(EMBEDDINGS), model.decision_function(EMBEDDINGS), atol=1e-8)
    assert head.weight.shape == (5, 4)


def test_a_binary_head_has_two_logits_of_the_same_probabilities():
    labels = (LABELS == 2).astype(int)
    head = LinearHead.fit(EMBEDDINGS, labels.tolist(), ("rest", "south"), inverse_penalty=1.0)
    model = pipeline(labels)
    logits = head.logits(EMBEDDINGS)
    assert logits.shape == (400, 2)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, model.predict_proba(EMBEDDINGS), atol=1e-9)
    assert head.predict(EMBEDDINGS) == [("rest", "south")[label] for label in model.predict(EMBEDDINGS)]


def test_class_names_follow_the_order_of_the_model():
    numbers, names = np.array([30, 10, 20, 40]), {10: "east", 20: "south", 30: "north", 40: "west"}
    model = LogisticRegression().fit(STANDARDISED, numbers[LABELS])
    assert LinearHead.from_sklearn(model).class_names == ("10", "20", "30", "40")
    head = LinearHead.from_sklearn(model, names)
    assert head.class_names == ("east", "south", "north", "west")
    assert head.predict(STANDARDISED) == [names[label] for label in model.predict(STANDARDISED)]


@pytest.mark.parametrize("penalty", [0, -1.0, np.nan, np.inf, "best"])
def test_an_inverse_penalty_is_a_number_above_zero_or_auto(penalty):
    with pytest.raises(InputError, match="The inverse penalty is"):
        LinearHead.fit(EMBEDDINGS, LABELS.tolist(), NAMES, inverse_penalty=penalty)


@pytest.mark.parametrize("label", [-1, 4, 1.5, "north"])
def test_a_label_that_has_no_name_is_refused(label):
    labels = [*LABELS.tolist()[:-1], label]
    with pytest.raises(InputError, match="A label is no index into the 4 class names"):
        LinearHead.fit(EMBEDDINGS, labels, NAMES)


@pytest.mark.parametrize("name", ["", " ", "x" * 257, "a\nb", "a\tb", "\ud800", "a\u2028b", "up\u202edown"])
def test_names_that_cannot_be_shown_on_a_line_are_refused_before_the_fit(name, monkeypatch):
    monkeypatch.setattr("securealign.alignment.head.fit_logistic", None)
    with pytest.raises(InputError, match=r"The class name of column 3 (is|has|holds) "):
        LinearHead.fit(EMBEDDINGS, LABELS.tolist(), (*NAMES[:3], name), inverse_penalty=1.0)


@pytest.mark.parametrize(
    "name",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "क्\u200dष",
        "👩\u200d🚀",
        "政治\u3000経済",
        "x" * 256,
        "S\u00a0p. A.",
    ],
)
def test_names_with_joiners_and_wide_spaces_are_names(name):
    assert LinearHead(np.zeros((2, 2)), np.zeros(2), (name, "other")).class_names[0] == name


def test_nearly_dead_dimensions_get_no_large_weights():
    random = np.random.default_rng(1)
    dead = 4e-6 * random.normal(size=(400, 2)) + 0.5
    head = LinearHead.fit(np.hstack([EMBEDDINGS, dead]), LABELS.tolist(), NAMES, inverse_penalty=1.0)
    without = LinearHead.fit(EMBEDDINGS, LABELS.tolist(), NAMES, inverse_penalty=1.0)
    assert np.abs(head.weight[-2:]).max() < 10 * np.abs(without.weight).max()


def test_how_a_head_was_made_is_saved_with_it(tmp_path):
    head = LinearHead.fit(EMBEDDINGS, LABELS.tolist(), NAMES)
    head.save_pretrained(tmp_path, encoder="table")
    found = LinearHead.from_pretrained(tmp_path)
    assert found.metadata == {**head.metadata, "encoder": "table"}
    assert set(head.metadata) == {"inverse_penalty", "cross_validated_accuracy"}


def test_a_class_without_examples_has_no_logit():
    kept = LABELS != 1
    head = LinearHead.fit(EMBEDDINGS[kept], LABELS[kept].tolist(), NAMES)
    assert head.class_names == ("north", "south", "west")
    assert head.weight.shape == (5, 3)


def test_a_model_with_text_labels_is_imported_under_them():
    model = LogisticRegression().fit(STANDARDISED, np.array(NAMES)[LABELS])
    head = LinearHead.from_sklearn(model)
    assert head.class_names == ("east", "north", "south", "west")
    assert head.predict(STANDARDISED) == list(model.predict(STANDARDISED))


@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [(EMBEDDINGS, [0, 1]), (EMBEDDINGS[:3], [1, 1, 1])],
    ids=["too few labels", "one class"],
)
def test_labels_must_fit(embeddings, labels):
    with pytest.raises(InputError, match="cannot fit a head"):
        LinearHead.fit(embeddings, labels, NAMES)


def test_one_text_for_each_of_many_classes_gives_a_head_without_a_warning():
    rows = np.random.default_rng(0).normal(size=(20, 8))
    head = LinearHead.fit(rows, list(range(20)), [str(number) for number in range(20)])
    assert head.weight.shape == (8, 20)


def test_training_on_nan_is_refused():
    broken = EMBEDDINGS.copy()
    broken[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7"):
        LinearHead.fit(broken, LABELS.tolist(), NAMES)


@pytest.mark.parametrize(
    ("weight", "bias", "names"),
    [((5, 4), (4,), 3), ((5, 4), (3,), 4), ((5, 4), (4, 1), 4), ((4,), (4,), 4)],
    ids=["names", "bias", "a bias of two dimensions", "a weight of one dimension"],
)
def test_a_head_fits_together(weight, bias, names):
    with pytest.raises(InputError, match="does not fit together") as caught:
        LinearHead(np.zeros(weight), np.zeros(bias), tuple("abcd"[:names]))
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_head_is_finite(part):
    parts = {"weight": np.zeros((2, 2)), "bias": np.zeros(2)}
    parts[part] = np.full_like(parts[part], np.inf)
    with pytest.raises(InputError, match=f"The head's {part}") as caught:
        LinearHead(**parts, class_names=("a", "b"))
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT


def test_embeddings_of_another_dimension_are_refused():
    head = LinearHead(np.zeros((2, 2)), np.zeros(2), ("a", "b"))
    with pytest.raises(InputError, match="3 columns where 2"):
        head.predict(np.zeros((1, 3)))


def test_a_digest_names_the_head_and_depends_on_all_of_it():
    weight, bias, names, salt = EMBEDDINGS[:2, :3], np.arange(3.0), ("a", "b", "c"), bytes(32)
    digest = LinearHead(weight, bias, names).digest(salt)
    assert len(digest) == 32
    same = LinearHead(np.asfortranarray(weight), bias, names, {"made": "elsewhere"})
    assert same.digest(salt) == digest
    others = (
        LinearHead(weight + 1e-9, bias, names).digest(salt),
        LinearHead(weight, bias + 1e-9, names).digest(salt),
        LinearHead(weight, bias, ("a", "b", "d")).digest(salt),
        # The same scores have other probabilities.
        LinearHead(weight, bias, names, link="ovr").digest(salt),
        LinearHead(weight, bias, names).digest(bytes([1]) * 32),
    )
    assert len({digest, *others}) == 6
