"""The mathematics in clear: alignment maps by ridge regression, and linear heads."""

from securealign.alignment.aligner import LinearAligner
from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import CrossMoments, Moments, solve_ridge

__all__ = ["AlignmentMap", "CrossMoments", "LinearAligner", "LinearHead", "Moments", "solve_ridge"]
