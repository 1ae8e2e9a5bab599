"""The mathematics in clear: alignment maps by ridge regression, and linear heads."""

from typing import TYPE_CHECKING, Any

from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import CrossMoments, Moments, solve_ridge

if TYPE_CHECKING:
    from securealign.alignment.aligner import LinearAligner

__all__ = ["AlignmentMap", "CrossMoments", "LinearAligner", "LinearHead", "Moments", "solve_ridge"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import `LinearAligner` on first use: scikit-learn takes a second, which the parties do not need to spend."""
    if name == "LinearAligner":
        from securealign.alignment.aligner import LinearAligner

        return LinearAligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
