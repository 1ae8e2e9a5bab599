"""What a check found: fine, worth a look, or what keeps the parties apart, with what to do about it."""

from dataclasses import dataclass
from enum import Enum

from securealign.errors import ErrorCode, SecurealignError


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `code` only for one that failed."""

    check: str
    level: Level
    message: str
    hint: str = ""
    code: ErrorCode | None = None

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON shows it."""
        fields = {"check": self.check, "level": self.level.value, "message": self.message, "hint": self.hint}
        return {**fields, "error": self.code.name if self.code else ""}


def fine(check: str, message: str) -> Finding:
    """Return the finding that there is nothing to do."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, hint: str) -> Finding:
    """Return the finding of something that works now and should not stay so."""
    return Finding(check, Level.WARNING, message, hint)


def failed(check: str, error: SecurealignError) -> Finding:
    """Return the finding that an error describes."""
    return Finding(check, Level.FAILED, error.message, error.hint, error.code)
