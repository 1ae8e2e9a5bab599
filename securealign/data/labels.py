"""From labels as a file writes them to class numbers and class names."""

from __future__ import annotations

from collections.abc import Sequence

from securealign.errors import InputError

RawLabel = str | int | None

_MAX_CLASSES = 65_536  # a label is an index into a list of names: one typing error must not allocate gigabytes
_MAX_DIGITS = 18  # longer digit strings are identifiers, and int() would refuse the very long ones


def number_labels(
    source: str, lines: Sequence[int], raw: Sequence[RawLabel], class_names: Sequence[str] | None = None
) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """Return (labels, class names) for the raw labels found at `lines` of `source`.

    All None gives (None, ()). Whole numbers, written as numbers or as digits, are class numbers and named after
    themselves; other strings are numbered in sorted order. `class_names` replaces these names, so that a test file gets
    the numbers of its training file.
    Raises `InputError` with the line where kinds mix, a label is missing, or a name is unknown.
    """
    if all(label is None for label in raw):
        return None, ()
    kind = type(next(label for label in raw if label is not None))
    for line, label in zip(lines, raw, strict=True):
        if type(label) is not kind:
            raise InputError(
                f"{source}, line {line}: the label is {_kind(label)}, other lines have {_kind(kind())}.",
                hint="Give every line a label of the same kind, or leave the field out everywhere.",
            )
    strings = [label for label in raw if isinstance(label, str)]
    # A table cannot say whether "3" is a string, so digits mean numbers in every format, unless they are given names.
    digits = all(label.isascii() and label.isdigit() and len(label) <= _MAX_DIGITS for label in strings)
    if strings and not (digits and not set(strings) <= set(class_names or ())):
        names = tuple(class_names) if class_names is not None else tuple(sorted(set(strings)))
        return _number_strings(source, lines, strings, names), names
    numbers = [int(label) for label in raw if label is not None]
    return _check_numbers(source, lines, numbers, class_names)


def _kind(label: RawLabel) -> str:
    return {str: "a string", int: "a number"}.get(type(label), "missing")


def _number_strings(source: str, lines: Sequence[int], labels: list[str], names: tuple[str, ...]) -> tuple[int, ...]:
    index = {name: number for number, name in enumerate(names)}
    for line, label in zip(lines, labels, strict=True):
        if label not in index:
            raise InputError(
                f"{source}, line {line}: the label is none of the {len(names)} class names.",
                hint=f"Use one of: {', '.join(names[:20])}.",
            )
    return tuple(index[label] for label in labels)


def _check_numbers(
    source: str, lines: Sequence[int], labels: list[int], class_names: Sequence[str] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    bound = _MAX_CLASSES if class_names is None else len(class_names)
    for line, label in zip(lines, labels, strict=True):
        if not 0 <= label < bound:
            raise InputError(
                f"{source}, line {line}: the class number is not between 0 and {bound - 1}.",
                hint="Number the classes from 0, or write the labels as strings.",
            )
    names = class_names if class_names is not None else [str(number) for number in range(max(labels) + 1)]
    return tuple(labels), tuple(names)
