"""Secure linear alignment: one organisation's classifier on another's embeddings, under encryption."""

from securealign.alignment import AlignmentMap, LinearAligner, LinearHead
from securealign.api import AlignmentRun, ClassificationRun, align_in_process, classify_in_process
from securealign.errors import SecurealignError

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
