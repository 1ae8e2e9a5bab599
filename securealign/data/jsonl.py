"""Rows of JSONL files: one object a line."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from securealign.data.labels import Kind, Label
from securealign.data.lines import Fields, Line, Row, bad_line, is_blank


class _Number(NamedTuple):
    """A number as the file writes it: 1.0 read as a float and written again could be another name."""

    literal: str


class _Object(dict[str, Any]):
    """An object that remembers which of its fields are there more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: frozenset[str] = frozenset()
        if len(self) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.repeated = frozenset(name for name in counts if counts[name] > 1)


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def parse_jsonl(source: str, lines: Iterator[Line], fields: Fields) -> Iterator[Row]:
    """Yield the rows; raises `InputError` with the line of what is no object with a text."""
    for number, line in lines:
        if is_blank(line):
            continue
        try:
            record = _DECODER.decode(line)
        except (ValueError, RecursionError):
            raise bad_line(source, number, "not valid JSON", "Write one JSON object a line.") from None
        if not isinstance(record, _Object):
            raise bad_line(source, number, "not a JSON object", 'Write lines such as {"text": "..."}.')
        for field in fields.names:
            if field in record.repeated:
                raise bad_line(source, number, f"the field {field!r} is there twice", "Leave one of the two out.")
        text = record.get(fields.text)
        if not isinstance(text, str):
            hint = f"Write the text as a string into the field {fields.text!r}."
            raise bad_line(source, number, f"no text in field {fields.text!r}", hint)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise bad_line(source, number, "the text holds a lone surrogate", "Write characters, not half of a pair.")
        label = None if fields.label is None else _label(source, number, record.get(fields.label))
        yield Row(number, text, label, tuple(_kept(source, number, record, field) for field in fields.keep))


def _kept(source: str, number: int, record: _Object, field: str) -> object:
    """Return the value of a field that is written beside the result."""
    if field not in record:
        raise bad_line(source, number, f"no field {field!r}", "Write null where there is no value.")
    try:
        return _plain(record[field])
    except (ValueError, RecursionError):
        raise bad_line(source, number, f"the field {field!r} holds no finite value", "Write null instead.") from None


def _plain(value: object) -> object:
    """Return a value with numbers in place of what the file writes; raises `ValueError` for one that is not finite."""
    if isinstance(value, _Number):
        number = float(value.literal)
        if not math.isfinite(number):
            raise ValueError("not finite")
        return number if set(value.literal) & set(".eE") else int(value.literal)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _label(source: str, number: int, value: object) -> Label | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return Label(Kind.STRING, value)
    if isinstance(value, bool):
        return Label(Kind.TRUTH, "true" if value else "false")
    if isinstance(value, _Number):
        if value.literal.lstrip("-") in {"NaN", "Infinity"}:
            raise bad_line(source, number, "the label is not finite", "Write null, or no field, for a missing label.")
        return Label(Kind.NUMBER, value.literal)
    raise bad_line(source, number, "the label is a list or an object", "Write one string or number a text.")
