"""Texts from files of the user: JSONL, CSV, TSV, plain lines, or standard input.

Strict on purpose: a line that is skipped or repaired on one side only would shift every row after it, and the parties'
rows would no longer belong together.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from securealign.data.datasets import TextDataset
from securealign.data.labels import RawLabel, number_labels
from securealign.errors import ConfigurationError, ErrorCode, InputError

STDIN = "-"
_BOM = b"\xef\xbb\xbf"


class _Row(NamedTuple):
    line: int
    text: str
    label: RawLabel


class _Fields(NamedTuple):
    text: str
    label: str


_Line = tuple[int, str]
_Parser = Callable[[str, Iterator[_Line], _Fields], Iterator[_Row]]


def load_texts(
    path: str | Path,
    *,
    text_field: str = "text",
    label_field: str = "label",
    limit: int | None = None,
    class_names: Sequence[str] | None = None,
) -> TextDataset:
    """Return the texts of a .jsonl, .ndjson, .csv, .tsv or .txt file, or of standard input for "-".

    CSV and TSV need a header line. A .txt file holds one text a line and its blank lines are skipped. Standard input is
    JSONL when its first line starts with "{", plain lines otherwise. `limit` keeps the first rows. Labels are optional;
    `class_names` fixes their numbering. Raises `InputError` with the file and line of what is wrong.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"The limit is {limit}.", hint="Ask for at least one text.")
    fields = _Fields(text_field, label_field)
    if str(path) == STDIN:
        name, lines = "standard input", _decoded("standard input", sys.stdin.buffer)
        first = next(lines, None)
        lines = chain([first] if first else [], lines)
        parser = _parse_jsonl if first and first[1].startswith("{") else _parse_plain
        rows = list(islice(parser(name, lines, fields), limit))
    else:
        name, rows = str(path), _rows_of_file(Path(path), fields, limit)
    if not rows:
        raise InputError(f"{name} holds no texts.", hint="Give a file with at least one text.")
    labels, names = number_labels(name, [row.line for row in rows], [row.label for row in rows], class_names)
    return TextDataset(name=name, texts=tuple(row.text for row in rows), labels=labels, class_names=names)


def _rows_of_file(path: Path, fields: _Fields, limit: int | None) -> list[_Row]:
    parser = _PARSERS.get(path.suffix.lower())
    if parser is None:
        raise InputError(
            f"{path} has no known kind of text file.",
            hint=f"Name it {', '.join(_PARSERS)}.",
            code=ErrorCode.FILE_INVALID,
        )
    try:
        with path.open("rb") as file:
            return list(islice(parser(str(path), _decoded(str(path), file), fields), limit))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path.", code=ErrorCode.FILE_INVALID
        ) from error


def _decoded(source: str, lines: Iterable[bytes]) -> Iterator[_Line]:
    # Lines end at "\n" alone: str.splitlines would also cut at U+2028 and others that JSON and prose may hold.
    for number, line in enumerate(lines, start=1):
        # Spreadsheets write a byte order mark that would otherwise become part of the first field's name.
        body = line.removeprefix(_BOM) if number == 1 else line
        try:
            yield number, body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad_line(source, number, f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8.") from None


def _bad_line(source: str, line: int, what: str, hint: str) -> InputError:
    return InputError(f"{source}, line {line}: {what}.", hint=hint, code=ErrorCode.FILE_INVALID)


def _parse_plain(_source: str, lines: Iterator[_Line], _fields: _Fields) -> Iterator[_Row]:
    for number, line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            yield _Row(number, text, None)


def _parse_jsonl(source: str, lines: Iterator[_Line], fields: _Fields) -> Iterator[_Row]:
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise _bad_line(source, number, "not valid JSON", "Write one JSON object a line.") from None
        if not isinstance(record, dict):
            raise _bad_line(source, number, "not a JSON object", 'Write lines such as {"text": "..."}.')
        text, label = record.get(fields.text), record.get(fields.label)
        if not isinstance(text, str):
            raise _bad_line(source, number, f"no text in field {fields.text!r}", "Name the field that holds the text.")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise _bad_line(source, number, "the text holds a lone surrogate", "Write characters, not half of a pair.")
        if isinstance(label, bool) or not isinstance(label, str | int | None):
            raise _bad_line(source, number, "the label is neither string nor whole number", "Use one of the two.")
        yield _Row(number, text, label)


def _table_parser(delimiter: str) -> _Parser:
    def parse(source: str, lines: Iterator[_Line], fields: _Fields) -> Iterator[_Row]:
        reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            if fields.text not in header:
                what = f"the header has no field {fields.text!r}"
                raise _bad_line(source, 1, what, "Name the field that holds the text.")
            for cells in reader:
                # A quoted field may span lines, so the reader's count is the line where the row ends.
                if len(cells) != len(header):
                    what = f"{len(cells)} fields where the header has {len(header)}"
                    raise _bad_line(source, reader.line_num, what, "Quote fields that hold the separator.")
                record = dict(zip(header, cells, strict=True))
                yield _Row(reader.line_num, record[fields.text], record.get(fields.label) or None)
        except csv.Error as error:
            raise _bad_line(source, reader.line_num, f"not a valid table ({error})", "Write JSONL instead.") from None

    return parse


_PARSERS: dict[str, _Parser] = {
    ".jsonl": _parse_jsonl,
    ".ndjson": _parse_jsonl,
    ".csv": _table_parser(","),
    ".tsv": _table_parser("\t"),
    ".txt": _parse_plain,
}
