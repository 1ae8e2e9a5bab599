"""Where in a model a hidden state is taken: behind the final norm, before it, or after a share of the blocks."""

from __future__ import annotations

from securealign.errors import ConfigurationError

POST_NORM = "post-norm"
PRE_NORM = "h[-1]"
#: Of the paper's sweep (appendix), the last first.
DEPTHS = (POST_NORM, PRE_NORM, "h[-2]", "3L/4", "L/2", "L/4")

_SHARES = {"3L/4": (3, 4), "L/2": (1, 2), "L/4": (1, 4)}


def blocks_below(depth: str, layers: int) -> int:
    """Return after how many of a model's `layers` blocks the state of this depth is taken.

    `POST_NORM` and `PRE_NORM` are both after all of them. Raises `ConfigurationError` for a depth that is none.
    """
    if depth in {POST_NORM, PRE_NORM}:
        return layers
    if depth == "h[-2]":
        return layers - 1
    if depth in _SHARES:
        numerator, denominator = _SHARES[depth]
        return max(1, layers * numerator // denominator)
    raise ConfigurationError(f"{depth!r} is no depth.", hint=f"Use one of: {', '.join(DEPTHS)}.")
