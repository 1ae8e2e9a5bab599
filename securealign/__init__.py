"""Secure linear alignment: one organisation's classifier on another's embeddings, under encryption."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securealign.alignment.aligner import LinearAligner
    from securealign.alignment.head import LinearHead
    from securealign.alignment.maps import AlignmentMap
    from securealign.api import AlignmentRun, ClassificationRun, align_in_process, classify_in_process
    from securealign.client.awaited import AsyncOpenClient
    from securealign.client.connecting import aconnect, connect
    from securealign.client.connection import OpenClient
    from securealign.client.predictions import AlignmentReport, Budget, Prediction, UnansweredError
    from securealign.errors import OutputModeError, SecurealignError

__version__ = "0.1.0"

__all__ = [
    "AlignmentMap",
    "AlignmentReport",
    "AlignmentRun",
    "AsyncOpenClient",
    "Budget",
    "ClassificationRun",
    "LinearAligner",
    "LinearHead",
    "OpenClient",
    "OutputModeError",
    "Prediction",
    "SecurealignError",
    "UnansweredError",
    "aconnect",
    "align_in_process",
    "classify_in_process",
    "connect",
]

#: Where each name is; all are imported on first use, since scikit-learn and gRPC take a second.
_HOMES = {
    "AlignmentMap": "securealign.alignment.maps",
    "AlignmentReport": "securealign.client.predictions",
    "AlignmentRun": "securealign.api",
    "AsyncOpenClient": "securealign.client.awaited",
    "Budget": "securealign.client.predictions",
    "ClassificationRun": "securealign.api",
    "LinearAligner": "securealign.alignment.aligner",
    "LinearHead": "securealign.alignment.head",
    "OpenClient": "securealign.client.connection",
    "OutputModeError": "securealign.errors",
    "Prediction": "securealign.client.predictions",
    "SecurealignError": "securealign.errors",
    "UnansweredError": "securealign.client.predictions",
    "aconnect": "securealign.client.connecting",
    "align_in_process": "securealign.api",
    "classify_in_process": "securealign.api",
    "connect": "securealign.client.connecting",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, whether they were imported or not."""
    return sorted({*globals(), *__all__})
