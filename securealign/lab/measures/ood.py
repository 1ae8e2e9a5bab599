"""Scores that tell texts unlike the training data from others, and how well they do. Higher means more unlike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from securealign.errors import InputError

Scores = npt.NDArray[np.float64]


def energy_score(logits: npt.ArrayLike) -> Scores:
    """Return the energy -log sum_k exp of logits (n, K), shape (n,) (Liu et al. 2020, at temperature 1)."""
    scores: Scores = -logsumexp(np.asarray(logits, dtype=np.float64), axis=1)
    return scores


def msp_score(logits: npt.ArrayLike) -> Scores:
    """Return minus the largest softmax probability of logits (n, K), shape (n,) (Hendrycks and Gimpel 2017)."""
    scores: Scores = -softmax(np.asarray(logits, dtype=np.float64), axis=1).max(axis=1)
    return scores


def auroc(inside: npt.ArrayLike, outside: npt.ArrayLike) -> float:
    """Return how often an out-of-distribution score exceeds an in-distribution one, ties counting as half.

    0.5 is chance, and below it the score is the wrong way round. Raises `InputError` for no scores or NaN.
    """
    from sklearn.metrics import roc_auc_score

    parts = _checked(inside), _checked(outside)
    return float(roc_auc_score(np.repeat([0, 1], [len(part) for part in parts]), np.concatenate(parts)))


def auroc_error(area: float, inside: int, outside: int) -> float:
    """Return the standard error of an AUROC of `inside` and `outside` scores (Hanley and McNeil 1982)."""
    both_inside, both_outside = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (outside - 1) * (both_inside - area**2)
        + (inside - 1) * (both_outside - area**2)
    ) / (inside * outside)  # fmt: skip
    return float(np.sqrt(max(variance, 0.0)))


def fpr_at(inside: npt.ArrayLike, outside: npt.ArrayLike, accepted: float = 0.95) -> float:
    """Return the share of out-of-distribution texts that pass where the share `accepted` of in-distribution ones does.

    In-distribution is the positive class, as in Liu et al. 2020: the threshold is the lowest in-distribution score that
    at least this share of them does not exceed, and a score on the threshold passes. Lower is better. Raises
    `InputError` for no scores or NaN, or a share outside of ]0, 1].
    """
    if not 0 < accepted <= 1:
        raise InputError(f"{accepted} is no share of texts to accept.", hint="Use a number above 0 and up to 1.")
    reference, others = _checked(inside), _checked(outside)
    # The tolerance keeps 0.95 of 20 rows at 19, whatever the product rounds to.
    threshold = reference[int(np.ceil(accepted * len(reference) - 1e-9)) - 1]
    return float((others <= threshold).mean())


def _checked(scores: npt.ArrayLike) -> Scores:
    """Return scores in order."""
    values: Scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(values) or np.isnan(values[-1]):
        raise InputError("There are no scores, or some are NaN.", hint="Check the texts and the head.")
    return values
