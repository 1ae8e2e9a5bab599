"""Where in a model a hidden state is taken: behind the final norm, before it, or after a share of the blocks."""

from __future__ import annotations

from securealign.errors import ConfigurationError

POST_NORM = "post-norm"
PRE_NORM = "h[-1]"
#: Of the paper's sweep (appendix), the last first.
DEPTHS = (POST_NORM, PRE_NORM, "h[-2]", "3L/4", "L/2", "L/4")


def blocks_below(depth: str, layers: int) -> int:
    """Return after how many of a model's `layers` blocks the state of this depth is taken.

    `POST_NORM` and `PRE_NORM` are both after all of them. Raises `ConfigurationError` for a depth that is none.
    """
    shares = {"3L/4": layers * 3 // 4, "L/2": layers // 2, "L/4": layers // 4}
    blocks = {POST_NORM: layers, PRE_NORM: layers, "h[-2]": layers - 1}
    blocks |= {name: max(1, count) for name, count in shares.items()}
    if depth not in blocks:
        raise ConfigurationError(f"{depth!r} is no depth.", hint=f"Use one of: {', '.join(DEPTHS)}.")
    return blocks[depth]
