"""From labels as a file writes them to class numbers and class names."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import NamedTuple

from securealign.errors import ErrorCode, InputError
from securealign.naming import fault_of_name

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_SHOWN = 20


class Kind(Enum):
    """How a file writes a label; cells of tables are strings."""

    STRING = "a string"
    NUMBER = "a number"
    TRUTH = "true or false"


class Label(NamedTuple):
    """A label, and its name: the characters in the file, so that 01, 1 and 1.0 are never taken for one another."""

    kind: Kind
    name: str


def number_labels(
    source: str, lines: Sequence[int], raw: Sequence[Label | None], class_names: Sequence[str] | None = None
) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """Return (labels, class names) for the raw labels found at `lines` of `source`.

    All None gives (None, ()). Classes are numbered in the order of `sorted_names`, or by their place in `class_names`,
    so that a test file gets the numbers of its training file. Raises `InputError` with the line where a label is
    missing or of another kind, cannot be shown, is none of `class_names`, or differs from another one only in white
    space, in how the same characters are composed, or in how the same number is written.
    """
    if all(label is None for label in raw):
        return None, ()
    first = next(label.kind for label in raw if label is not None)
    given = []
    for line, label in zip(lines, raw, strict=True):
        if label is None or label.kind is not first:
            found = "missing" if label is None else label.kind.value
            raise _bad_label(
                source,
                line,
                f"is {found}, other lines have {first.value}",
                "Give every line a label of the same kind, or leave the field out everywhere.",
            )
        given.append(label)
    _check(source, lines, given)
    names = sorted_names(label.name for label in given) if class_names is None else tuple(class_names)
    index = {name: number for number, name in enumerate(names)}
    for line, label in zip(lines, given, strict=True):
        if label.name not in index:
            hint = f"Use one of: {', '.join(names[:_SHOWN])}."
            raise _bad_label(source, line, f"is none of the {len(names)} class names", hint)
    return tuple(index[label.name] for label in given), names


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names in the order that numbers their classes: by value if all are numbers, else as text."""
    distinct = set(names)
    if all(_NUMBER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(distinct))


def _check(source: str, lines: Sequence[int], labels: Sequence[Label]) -> None:
    """Refuse names that cannot be shown, and two names that a reader would take for one."""
    seen: dict[object, tuple[str, int]] = {}
    checked = set()
    for line, label in zip(lines, labels, strict=True):
        if label.name in checked:
            continue
        checked.add(label.name)
        fault = fault_of_name(label.name)
        if fault is not None:
            raise _bad_label(source, line, fault, "Write the name of its class on one line, as it is to be shown.")
        name, other = seen.setdefault(_likeness(label), (label.name, line))
        if name != label.name:
            what = f"is written otherwise on line {other}, with the same meaning"
            raise _bad_label(source, line, what, "Write each class in one way, down to white space and Unicode form.")


def _likeness(label: Label) -> object:
    if label.kind is Kind.NUMBER:
        try:
            return Decimal(label.name)
        except InvalidOperation:
            # An exponent beyond all bounds; its characters are a name like any other.
            return label.name
    return unicodedata.normalize("NFC", label.name).strip()


def _bad_label(source: str, line: int, what: str, hint: str) -> InputError:
    return InputError(f"{source}, line {line}: the label {what}.", hint=hint, code=ErrorCode.FILE_INVALID)
