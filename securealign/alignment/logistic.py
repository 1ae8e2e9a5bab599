"""Logistic regression on standardised embeddings, and the choice of its penalty by cross-validation.

The inverse penalty is scikit-learn's C: the loss is summed over texts, the penalty is |V|^2 / (2 C).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.scaling import Vector, deviations
from securealign.alignment.scikit import Scores, scores_of
from securealign.matrices import FloatMatrix

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Numbers = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]

#: Inverse penalties to choose from, the strongest penalty first: each fit starts where the last one ended.
GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 5))
#: Inverse penalty where too few texts can be held out to choose one.
USUAL = 1.0
_FOLDS = 5
#: Texts, held out one time each, below which the choice would be by chance.
_FEWEST = 8
#: Texts that choose: more would take longer and choose the same.
_MOST = 5000
#: Share of the log loss gained by the best regression that a stronger penalty may lose.
_COST = 0.1
#: Below this number of texts, the best penalty or the usual one is taken.
_FEW = 200
#: Penalties in a row that do worse than the best, after which weaker ones are not tried.
_PATIENCE = 2


class Choice(NamedTuple):
    """A penalty, and the share of held-out texts whose class it tells; None where too few could be held out."""

    inverse_penalty: float
    accuracy: float | None


class _Score(NamedTuple):
    """Mean log loss and accuracy of a penalty on texts held out."""

    inverse_penalty: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Space:
    """Where a regression is fitted: rows standardised, and rotated into their own span if they are few.

    `axes` (d, r) span the rows. The penalty is the same in every rotation, so the solution is too.
    """

    mean: Vector
    scale: Vector
    axes: FloatMatrix | None

    @classmethod
    def of(cls, rows: FloatMatrix) -> Space:
        """Return the space of rows (n, d)."""
        space = cls(rows.mean(axis=0), deviations(rows), None)
        if 2 * len(rows) > rows.shape[1]:
            return space
        axes = np.linalg.svd(space.features(rows), full_matrices=False)[2].T
        return cls(space.mean, space.scale, axes)

    def features(self, rows: FloatMatrix) -> FloatMatrix:
        """Return what a model is fitted on, (n, r), for rows (n, d)."""
        standardised: FloatMatrix = (rows - self.mean) / self.scale
        return standardised if self.axes is None else standardised @ self.axes

    def unfold(self, scores: Scores) -> Scores:
        """Return the scores of raw rows (n, d), given those of features (n, r)."""
        turned = scores.weight if self.axes is None else self.axes @ scores.weight
        weight: FloatMatrix = turned / self.scale[:, None]
        return scores._replace(weight=weight, bias=scores.bias - self.mean @ weight)


def fit_logistic(rows: FloatMatrix, labels: Numbers, inverse_penalty: float) -> Scores:
    """Return the scores of a regression on standardised rows (n, d), one for each label that occurs."""
    with _one_thread():
        space = Space.of(rows)
        return space.unfold(_fit(_model(), space.features(rows), labels, inverse_penalty))


def choose_inverse_penalty(rows: FloatMatrix, labels: Numbers) -> Choice:
    """Return the inverse penalty for rows (n, d), chosen by cross-validation.

    It is the smallest that keeps nine tenths of the log loss which the best one gains over the shares of the classes: a
    head serves embeddings that a map brings from another encoder, which small weights carry better. With 24 tasks of
    1,000 texts and 72 maps to their encoders, this costs nothing on the own embeddings (78.7 % right) against the best
    one, and gains 1.1 points through maps. For few texts it is the best one, or the usual one if the best gains hardly
    any log loss: from 32 texts, the best alone is 1 point worse on average than the usual one, with this rule better.
    """
    with _one_thread():
        drawn = np.random.default_rng(0).permutation(len(labels))[:_MOST]
        folds = list(_folds(rows[drawn], labels[drawn]))
        if sum(fold.known for fold in folds) < _FEWEST:
            return Choice(USUAL, None)
        tried: list[_Score] = []
        for inverse_penalty in GRID:
            tried.append(_score(folds, inverse_penalty))
            best = min(tried, key=lambda score: score.loss)
            if tried.index(best) < len(tried) - _PATIENCE:
                break
        # The log loss of naming every class with its share of the labels.
        shares = np.unique(labels, return_counts=True)[1] / len(labels)
        ignorant = float(-shares @ np.log(shares))
        if len(labels) < _FEW:
            chosen = best if best.loss < (1 - _COST) * ignorant else _score(folds, USUAL)
        else:
            bound = best.loss + _COST * max(0.0, ignorant - best.loss)
            chosen = next(score for score in tried if score.loss <= bound)
    return Choice(chosen.inverse_penalty, chosen.accuracy)


def _score(folds: Sequence[_Fold], inverse_penalty: float) -> _Score:
    losses, told = zip(*(fold.score(inverse_penalty) for fold in folds), strict=True)
    return _Score(inverse_penalty, float(np.concatenate(losses).mean()), float(np.concatenate(told).mean()))


class _Fold:
    """Rows to fit on and others held out, with a regression that each stronger penalty prepares for the next."""

    def __init__(self, rows: FloatMatrix, labels: Numbers, held: Truths) -> None:
        # Mean and deviations come from the rows of the fit alone: among few rows, a held-out one would change them.
        space = Space.of(rows[~held])
        self._features, self._labels = space.features(rows[~held]), labels[~held]
        self._held, self._held_labels = space.features(rows[held]), labels[held]
        self._trained = np.isin(self._held_labels, self._labels)
        self._model = _model()
        shares = np.log(np.unique(self._labels, return_counts=True)[1])
        if len(shares) > 2:
            # From zero, the solver would spend most of its steps on the shares of the classes.
            self._model.coef_ = np.zeros((len(shares), self._features.shape[1]))
            self._model.intercept_ = shares - shares.mean()

    @property
    def known(self) -> int:
        """Held-out rows of classes that are fitted."""
        return int(self._trained.sum())

    def score(self, inverse_penalty: float) -> tuple[Vector, Truths]:
        """Return the log loss of every held-out row of a known class, and whether it tells each held-out row."""
        scores = _fit(self._model, self._features, self._labels, inverse_penalty)
        logits = self._held @ scores.weight + scores.bias
        told: Truths = scores.classes[logits.argmax(axis=1)] == self._held_labels
        logits, labels = logits[self._trained], self._held_labels[self._trained]
        logits = logits - logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(labels)), np.searchsorted(scores.classes, labels)]
        return np.log(np.exp(logits).sum(axis=1)) - own, told


def _folds(rows: FloatMatrix, labels: Numbers) -> Iterator[_Fold]:
    """Yield folds that can be fitted; every class is spread over them as evenly as its rows allow."""
    # Not scikit-learn's StratifiedKFold, which refuses classes that have fewer members than there are folds.
    place = np.empty(len(labels), dtype=np.intp)
    place[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    for number in range(_FOLDS):
        held = place % _FOLDS == number
        if held.any() and len(np.unique(labels[~held])) > 1:
            yield _Fold(rows, labels, held)


def _one_thread() -> AbstractContextManager[object]:
    # numpy and scipy bring a BLAS each, and the solver goes back and forth between the two: the idle threads of one
    # spin on the cores that the other needs, which takes twenty times as long as one thread alone.
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def _model() -> LogisticRegression:
    # scikit-learn takes a second to import, which only fitting needs to spend.
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000, warm_start=True)


def _fit(model: LogisticRegression, features: FloatMatrix, labels: Numbers, inverse_penalty: float) -> Scores:
    model.C = inverse_penalty
    with warnings.catch_warnings():
        # A client may have few texts of many classes; its accuracy on held-out texts then shows it.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        model.fit(features, labels)
    return scores_of(model).two_sided()
