"""A model that skops saved becomes a head; types that could run code are refused by name."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from support.optional import later

from securealign.errors import DependencyError, ErrorCode, InputError
from securealign.heads import read_head, skops_files

skops_io = later("skops.io")
RANDOM = np.random.default_rng(3)
TRUE = RANDOM.integers(0, 3, size=60)
ROWS = 3 * RANDOM.normal(size=(3, 4))[TRUE] + RANDOM.normal(size=(60, 4)) + 5
NAMES = np.array(["art", "law", "sea"])


def saved(tmp_path, model, name="model.skops"):
    skops_io.dump(model, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=1000),
        make_pipeline(StandardScaler(), SelectKBest(k=3), LogisticRegression(max_iter=1000)),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1]}, cv=2),
    ],
    ids=["a model", "a pipeline", "a search"],
)
def test_a_saved_model_and_its_head_say_the_same(tmp_path, model):
    model.fit(ROWS, NAMES[TRUE])
    head = read_head(saved(tmp_path, model))
    assert head.predict(ROWS) == model.predict(ROWS).tolist()
    np.testing.assert_allclose(head.predict_proba(ROWS), model.predict_proba(ROWS), atol=1e-9)
    assert head.metadata == {"imported_from": "model.skops"}


def test_classes_get_other_names(tmp_path):
    path = saved(tmp_path, RidgeClassifier().fit(ROWS, TRUE))
    assert read_head(path).class_names == ("0", "1", "2")
    assert read_head(path, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")
    assert read_head(path, class_names={"2": "c", "0": "a", "1": "b"}).class_names == ("a", "b", "c")
    with pytest.raises(InputError, match="The class 1 has no name"):
        read_head(path, class_names={"0": "a", "2": "c"})
    with pytest.raises(InputError, match="2 class names do not fit a model of 3 classes"):
        read_head(path, class_names=["x", "y"])


def test_a_link_can_be_given(tmp_path):
    path = saved(tmp_path, RidgeClassifier().fit(ROWS, TRUE))
    assert read_head(path).link == "margin"
    assert read_head(path, link="softmax").link == "softmax"


class Own(StandardScaler):
    """A step whose code only its author has."""


def test_types_that_are_not_trusted_are_refused_by_name(tmp_path):
    model = make_pipeline(Own(), RidgeClassifier()).fit(ROWS, TRUE)
    with pytest.raises(InputError, match=r"not trusted: \S*test_heads_skops\.Own") as caught:
        read_head(saved(tmp_path, model))
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert "without classes and functions of your own" in caught.value.hint


class Touch:
    """An object that leaves a trace when it is made from a file."""

    trace: list[str] = []  # noqa: RUF012

    def __getstate__(self):
        return {"path": "x"}

    def __setstate__(self, state):
        self.trace.append(state["path"])


def test_a_file_cannot_run_code_unless_its_types_are_allowed(tmp_path, monkeypatch):
    model = RidgeClassifier().fit(ROWS, TRUE)
    model.extra = Touch()
    path = saved(tmp_path, model)
    with pytest.raises(InputError, match="not trusted"):
        read_head(path)
    assert Touch.trace == []
    # The control: with the type in the list, its code runs.
    monkeypatch.setattr(skops_files, "_ALLOWED", {f"{Touch.__module__}.Touch"})
    read_head(path)
    assert Touch.trace == ["x"]


def test_many_types_that_are_not_trusted_are_counted(tmp_path):
    model = RidgeClassifier().fit(ROWS, TRUE)
    model.extra = [type(f"Own{number}", (Own,), {"__module__": __name__})() for number in range(9)]
    for part in model.extra:
        globals()[type(part).__name__] = type(part)
    with pytest.raises(InputError, match=r"Own4 and 4 more"):
        read_head(saved(tmp_path, model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RandomForestClassifier(2), r"sklearn\.tree\._tree\.Tree|RandomForestClassifier is no linear classifier"),
        (make_pipeline(FunctionTransformer(np.tanh), RidgeClassifier()), "FunctionTransformer is no linear step"),
        (StandardScaler(), "StandardScaler is no linear classifier"),
    ],
    ids=["trees", "a function", "a scaler"],
)
def test_what_is_not_linear_is_refused_by_name(tmp_path, model, message):
    with pytest.raises(InputError, match=message) as caught:
        read_head(saved(tmp_path, model.fit(ROWS, TRUE)))
    assert caught.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value):
    model = RidgeClassifier().fit(ROWS, TRUE)
    model.coef_[1, 2] = value
    with pytest.raises(InputError) as caught:
        read_head(saved(tmp_path, model))
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT


def test_coefficients_that_do_not_fit_the_classes_are_refused(tmp_path):
    model = LogisticRegression(max_iter=1000).fit(ROWS, TRUE)
    model.classes_ = np.arange(5)
    with pytest.raises(InputError, match="does not fit together"):
        read_head(saved(tmp_path, model))
    model.intercept_ = np.zeros(7)
    with pytest.raises(InputError, match="is damaged"):
        read_head(saved(tmp_path, model))


def rewritten(path, change):
    """Return the bytes of a file of skops whose schema was changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, change(json.loads(content)) if name == "schema.json" else content)
    return out.getvalue()


DAMAGED = {
    "empty": lambda _: b"",
    "no archive": lambda _: b"PK" + bytes(50),
    "cut": lambda path: path.read_bytes()[:-300],
    "no schema": lambda path: rewritten(path, lambda _: "{}"),
    "another schema": lambda path: rewritten(path, lambda _: "[1]"),
    "a loader that is not there": lambda path: rewritten(path, lambda schema: json.dumps(schema | {"__loader__": "x"})),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = saved(tmp_path, RidgeClassifier().fit(ROWS, TRUE))
    read_head(path)
    path.write_bytes(damage(path))
    with pytest.raises(InputError, match=r"model\.skops is no file of skops, or damaged") as caught:
        read_head(path)
    assert caught.value.code is ErrorCode.FILE_INVALID


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = saved(tmp_path, RidgeClassifier().fit(ROWS, TRUE))
    monkeypatch.setattr(skops_files, "_LARGEST", 100)
    monkeypatch.setattr("skops.io.loads", None)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_head(path)


def test_without_skops_the_extra_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, RidgeClassifier().fit(ROWS, TRUE))
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    with pytest.raises(DependencyError) as caught:
        read_head(path)
    assert caught.value.hint == "Run: pip install 'securealign[heads]'"
