"""The mathematics in clear: alignment maps by ridge regression, and linear heads."""

from .aligner import LinearAligner
from .head import LinearHead
from .maps import AlignmentMap
from .ridge import CrossMoments, Moments, solve_ridge

__all__ = ["AlignmentMap", "CrossMoments", "LinearAligner", "LinearHead", "Moments", "solve_ridge"]
