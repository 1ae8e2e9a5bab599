"""Secure linear alignment: one organisation's classifier on another's embeddings, under encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securealign.alignment import AlignmentMap, LinearHead
from securealign.api import AlignmentRun, ClassificationRun, align_in_process, classify_in_process
from securealign.errors import SecurealignError

if TYPE_CHECKING:
    from securealign.alignment import LinearAligner

__version__ = "0.1.0"

__all__ = [
    "AlignmentMap",
    "AlignmentRun",
    "ClassificationRun",
    "LinearAligner",
    "LinearHead",
    "SecurealignError",
    "align_in_process",
    "classify_in_process",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import `LinearAligner` on first use: scikit-learn takes a second."""
    if name == "LinearAligner":
        from securealign import alignment

        return alignment.LinearAligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
