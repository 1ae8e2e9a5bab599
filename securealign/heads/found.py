"""What a reader of heads returns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from securealign.alignment.scikit import Scores
from securealign.errors import ErrorCode, InputError


class Found(NamedTuple):
    """The scores in a file, and whether their classes are labels that it holds, or only numbers from 0."""

    scores: Scores
    named: bool


def invalid(path: Path, what: str, hint: str) -> InputError:
    """Return the error that a file `what`, and what to do."""
    return InputError(f"{path} {what}.", hint=hint, code=ErrorCode.FILE_INVALID)
