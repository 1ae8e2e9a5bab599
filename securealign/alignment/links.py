"""From logits to probabilities: what a model's own predict_proba does with the scores of its classes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from securealign.errors import OutputModeError
from securealign.matrices import FloatMatrix

#: What turns logits into probabilities. The one score s of a binary model has the logits -s/2 and s/2.
#:
#: softmax: exp of each logit, normalised.
#: sigmoid: the logistic function of s, which is the softmax of its two logits.
#: ovr: one class against the rest, the logistic function of each logit, normalised.
#: huber: scikit-learn's modified Huber loss: logits, or -s and s, clipped to -1 and 1, brought to 0 and 1, normalised.
#: margin: no probabilities. Logits are distances to decision boundaries.
Link = Literal["softmax", "sigmoid", "ovr", "huber", "margin"]
LINKS: tuple[Link, ...] = get_args(Link)


def probabilities(logits: FloatMatrix, link: Link) -> FloatMatrix:
    """Return probabilities (m, K) for logits (m, K); raises `OutputModeError` for margins."""
    if link == "margin":
        raise OutputModeError(
            "This head gives margins, which are no probabilities.",
            hint="Use its labels or logits, or a model with probabilities, such as LogisticRegression.",
        )
    if link == "huber":
        return _huber(logits)
    # The softmax of logarithms of sigmoids is their share of the sum, without underflow.
    powers = -np.logaddexp(0.0, -logits) if link == "ovr" else logits
    shares = np.exp(powers - powers.max(axis=1, keepdims=True))
    result: FloatMatrix = shares / shares.sum(axis=1, keepdims=True)
    return result


def _huber(logits: FloatMatrix) -> FloatMatrix:
    if logits.shape[1] == 2:
        logits = logits - logits[:, ::-1]
    shares = (np.clip(logits, -1.0, 1.0) + 1.0) / 2.0
    # Where every class is refused, all are equally likely.
    shares[~shares.any(axis=1)] = 1.0
    result: FloatMatrix = shares / shares.sum(axis=1, keepdims=True)
    return result
