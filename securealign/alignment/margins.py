"""Whether a label can be trusted: the gap between the two largest logits against the error that a suite adds."""

import numpy as np
import numpy.typing as npt

from securealign.alignment.head import LinearHead
from securealign.alignment.scaling import Vector
from securealign.matrices import FloatMatrix

#: A label is uncertain when the gap is below this many standard deviations of a logit's error.
DEVIATIONS = 6.0
#: Share of uncertain labels above which a user is warned.
TOLERATED = 1e-3
#: Weights of a dimension beyond this many times those of most others leave no precision for the others.
_UNEVEN = 1e4
UNEVEN_ADVICE = "Fit the classifier without them: VarianceThreshold(1e-8) before the scaler."


def gaps(logits: FloatMatrix) -> Vector:
    """Return the difference of the two largest logits in each row of (m, K), infinite for a single class."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    largest = np.partition(logits, -2, axis=1)[:, -2:]
    difference: Vector = largest[:, 1] - largest[:, 0]
    return difference


def uncertain_share(logits: FloatMatrix, deviation: Vector) -> float:
    """Return the share of rows (m, K) whose gap is below `DEVIATIONS` times the error's deviation, shape (m,)."""
    return float(np.mean(gaps(logits) < DEVIATIONS * deviation)) if len(logits) else 0.0


def query_norms(queries: npt.NDArray[np.floating]) -> Vector:
    """Return the norms (m,) of queries (m, d) with the constant that carries the bias."""
    norms: Vector = np.sqrt(1 + np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    return norms


def head_norm(head: LinearHead) -> float:
    """Return the largest norm of a class's weight and bias, from which a suite takes its scale."""
    return float(np.linalg.norm(np.vstack([head.weight, head.bias]), axis=0).max())


def expected_uncertain_share(head: LinearHead, embeddings: FloatMatrix, relative_error: float) -> float:
    """Return the share of embeddings (m, d) whose label would be uncertain.

    `relative_error` is a logit's error relative to the norms of query and class.
    """
    return uncertain_share(head.logits(embeddings), relative_error * head_norm(head) * query_norms(embeddings))


def uneven_warning(head: LinearHead) -> str | None:
    """Return what to tell a user whose head hangs on single dimensions, in which embeddings hardly vary, or None."""
    norms = np.linalg.norm(head.weight, axis=1)
    if not norms.any():
        return None
    uneven = np.flatnonzero(norms > _UNEVEN * np.median(norms[norms > 0]))
    if not uneven.size:
        return None
    return (
        f"The weights of {len(uneven)} of {len(norms)} dimensions are more than {_UNEVEN:,.0f} times those of the "
        f"others, first in column {uneven[0]}: embeddings hardly vary there and were scaled up, and no label would "
        "survive the error of encryption."
    )


def precision_warning(share: float) -> str | None:
    """Return what to tell a user about a share of uncertain labels, None if there are few."""
    if share <= TOLERATED:
        return None
    return (
        f"{share:.1%} of the labels cannot be trusted: their two largest logits are closer than {DEVIATIONS:g} "
        "standard deviations of the error that encryption adds. More output_bits help where the provider coarsens "
        "logits, and a head with smaller weights, by a stronger penalty, elsewhere."
    )
