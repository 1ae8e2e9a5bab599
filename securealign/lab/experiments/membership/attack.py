"""Evidence about membership: what an observer of a map computes from it, and how shadow maps make that a score.

Members are a truth value for each map and target, shape (maps, targets). A score is positive for "member" and comes
from maps of other folds alone.
"""

import numpy as np
import numpy.typing as npt

from securealign.matrices import FloatMatrix

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]
#: Two matrices whose product is too large to be computed.
Product = tuple[FloatMatrix, FloatMatrix]

#: Leading singular values among the features.
SINGULAR_VALUES = 64
#: What is added to squares before their logarithm: far below a residual that is not zero.
_TINY = 1e-30
_STEPS = 1000
_TOLERANCE = 1e-4
#: Columns that a sketch has beyond the rank that it looks for.
_MARGIN = 8


def map_features(affine: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the paper's features of a map: `affine` (d_B + 1, d_A) is the weight with the bias as its last row.

    They are the Frobenius and spectral norm, the mean, deviation and extremes of the norms of rows and of columns, the
    leading singular values (zeros where there are fewer), the effective rank exp(H(s / sum s)) and the bias norm.
    """
    weight, bias = affine[:-1], affine[-1]
    gram = weight @ weight.T if len(weight) < weight.shape[1] else weight.T @ weight
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))
    leading = np.zeros(SINGULAR_VALUES)
    leading[: len(singular)] = singular[:SINGULAR_VALUES]
    shares = singular / (singular.sum() + _TINY)
    rank = np.exp(-np.sum(shares * np.log(shares + _TINY)))
    norms = [np.linalg.norm(weight, axis=axis) for axis in (1, 0)]
    moments = [(norm.mean(), norm.std(), norm.min(), norm.max()) for norm in norms]
    ends = [np.linalg.norm(weight), singular[0], rank, np.linalg.norm(bias)]
    return np.concatenate([ends, *moments, leading])


def log_residuals(affine: FloatMatrix, source: FloatMatrix, target: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return log || z_A - (z_B W + b) ||^2 for rows z_B (n, d_B) and z_A (n, d_A), shape (n,)."""
    return _log_squares(target - source @ affine[:-1] - affine[-1])


def log_distances(
    product: Product, directions: FloatMatrix, rank: int, random: np.random.Generator, *, exact: bool
) -> npt.NDArray[np.float64]:
    """Return log sin^2 of the angle between directions (n, k) and the leading `rank` columns' space, shape (n,).

    The space is that of projection (k, k) times deviation (k, d_A), found with a sketch, which is all it takes when the
    rank is `exact`, and a step of subspace iteration otherwise (Halko, Martinsson, Tropp 2011).
    """
    projection, deviation = product
    width = min(*deviation.shape, rank if exact else rank + _MARGIN)
    sketch = projection @ (deviation @ random.standard_normal((deviation.shape[1], width)))
    space = np.linalg.qr(sketch).Q
    if not exact:
        rotated = deviation.T @ (projection.T @ space)
        left, _, _ = np.linalg.svd(projection @ (deviation @ np.linalg.qr(rotated).Q), full_matrices=False)
        space = left[:, :rank]
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return _log_squares(unit - (unit @ space) @ space.T)


def _log_squares(rows: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the logarithm of each row's squared norm."""
    logarithms: npt.NDArray[np.float64] = np.log(np.einsum("ij,ij->i", rows, rows) + _TINY)
    return logarithms


def likelihood_scores(statistics: FloatMatrix, members: BoolArray, folds: IntArray) -> FloatMatrix:
    """Return log-likelihood ratios (maps, targets) of a statistic, Gaussian with and without the target.

    Means and deviations are those of the target's statistic over the maps of other folds (Carlini et al. 2022).
    """
    scores = np.empty_like(statistics)
    for fold in np.unique(folds):
        held, fitted = folds == fold, folds != fold
        densities = []
        for inside in (members[fitted], ~members[fitted]):
            count = np.maximum(inside.sum(axis=0), 1)
            mean = np.sum(statistics[fitted] * inside, axis=0) / count
            variance = np.sum((statistics[fitted] - mean) ** 2 * inside, axis=0) / count
            # The variance of a statistic that never varies is zero, and must not be divided by.
            variance += (1e-6 * (1 + np.abs(mean))) ** 2
            densities.append(-((statistics[held] - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
        scores[held] = densities[0] - densities[1]
    return scores


def logistic_scores(features: FloatMatrix, members: BoolArray, folds: IntArray) -> FloatMatrix:
    """Return log-odds (maps, targets) of logistic regressions on features (maps, f), one for each target and fold."""
    scores = np.empty(members.shape)
    for fold in np.unique(folds):
        held, fitted = folds == fold, folds != fold
        centre, scale = features[fitted].mean(axis=0), features[fitted].std(axis=0)
        # A feature that varies by rounding alone says nothing.
        scale = np.where(scale > 1e-12 * (1 + np.abs(centre)), scale, np.inf)
        standard = (features - centre) / scale
        coefficients = fit_logistic(standard[fitted], members[fitted])
        scores[held] = standard[held] @ coefficients[:-1] + coefficients[-1]
    return scores


def fit_logistic(features: FloatMatrix, labels: BoolArray) -> FloatMatrix:
    """Return coefficients (f + 1, targets), intercept last, under a penalty of || w ||^2 / 2 as scikit-learn's default.

    All targets share the bound X^T X / 4 on the curvature (Boehning 1992), so a step costs one product for all of them:
    a tenth of the time that one scikit-learn model for each target takes.
    """
    design = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.append(np.ones(features.shape[1]), 0.0)
    step = np.linalg.inv(design.T @ design / 4 + np.diag(penalty))
    coefficients = np.zeros((design.shape[1], labels.shape[1]))
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-design @ coefficients))
        change = step @ (design.T @ (labels - probability) - penalty[:, None] * coefficients)
        coefficients += change
        if np.abs(change).max() < _TOLERANCE:
            break
    return coefficients
