"""Rows of CSV and TSV files.

CSV follows RFC 4180, with commas, semicolons or tabs as the header shows. TSV has no quoting: a cell that begins with a
quote is text. The reader of the standard library is not used: its limit on the length of a cell holds for all threads
of a process, and it does not say where a quote that is never closed was opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from securealign.data.labels import Kind, Label
from securealign.data.lines import MAX_LINE_BYTES, Fields, Line, Row, bad_line, is_blank, too_long, without_end

SEPARATORS = (",", ";", "\t")
_QUOTE = '"'
_CSV_HINT = "Enclose a cell that holds separators, quotes or line ends in quotes, and write a quote in it twice."
_TSV_HINT = "TSV has no quoting: write texts that hold tabs, line ends or quotes around them as CSV or JSONL."


class _Record(NamedTuple):
    line: int
    cells: list[str]


def parse_csv(source: str, lines: Iterator[Line], fields: Fields) -> Iterator[Row]:
    """Yield the rows of a table with quoting; raises `InputError` with the line on which a broken one begins."""
    first, lines = first_row(lines)
    if first is not None:
        found = [mark for mark in SEPARATORS if fields.text in header_names(first[1], mark)]
        # A header of one column shows no separator, and fits all of them.
        separator = found[0] if found else SEPARATORS[0]
        yield from _rows(source, _quoted_records(source, lines, separator), fields, _CSV_HINT)


def parse_tsv(source: str, lines: Iterator[Line], fields: Fields) -> Iterator[Row]:
    """Yield the rows of a table of tabs in which quotes are text.

    A header whose names are all in quotes declares quoting, which is then undone. Raises `InputError` for a row that
    does not fit the header, and where all texts or all labels are in quotes although the header is not.
    """
    first, lines = first_row(lines)
    if first is None:
        return
    if all(_in_quotes(cell) for cell in first[1].rstrip("\r\n").split("\t")):
        yield from _rows(source, _quoted_records(source, lines, "\t"), fields, _CSV_HINT)
    else:
        yield from _without_quoting(source, _rows(source, _plain_records(source, lines), fields, _TSV_HINT))


def first_row(lines: Iterator[Line]) -> tuple[Line | None, Iterator[Line]]:
    """Return the first line that is not blank, or None, and all lines from it on."""
    first = next((line for line in lines if not is_blank(line[1])), None)
    return first, lines if first is None else chain([first], lines)


def header_names(line: str, separator: str) -> list[str]:
    """Return the names in a header, without white space and quotes around them."""
    return [_name(cell) for cell in line.split(separator)]


def _name(cell: str) -> str:
    name = cell.strip()
    return name[1:-1] if _in_quotes(name) else name


def _in_quotes(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == _QUOTE


def _plain_records(source: str, lines: Iterator[Line]) -> Iterator[_Record]:
    for number, line in lines:
        if not is_blank(line):
            yield _Record(number, without_end(source, number, line).split("\t"))


def _quoted_records(source: str, lines: Iterator[Line], separator: str) -> Iterator[_Record]:
    for number, line in lines:
        if is_blank(line):
            continue
        cells, row, position = [], line, -1
        while position < _end(row):
            position += 1
            if row.startswith(_QUOTE, position):
                cell, row, position = _quoted_cell(source, lines, (number, row), position + 1)
                if position < _end(row) and not row.startswith(separator, position):
                    raise bad_line(source, number, "something follows a quote that closes a cell", _CSV_HINT)
            else:
                stop = row.find(separator, position)
                cell = without_end(source, number, row[position:] if stop < 0 else row[position:stop])
                position += len(cell)
            cells.append(cell)
        yield _Record(number, cells)


def _end(row: str) -> int:
    return len(row) - (2 if row.endswith("\r\n") else row.endswith(("\r", "\n")))


def _quoted_cell(source: str, lines: Iterator[Line], first: Line, position: int) -> tuple[str, str, int]:
    """Return a cell from behind its first quote on, the line on which it ends, and the position behind it there."""
    number, row = first
    parts: list[str] = []
    length = 0
    while True:
        stop = row.find(_QUOTE, position)
        if stop < 0:
            parts.append(row[position:])
            length += len(parts[-1])
            if length > MAX_LINE_BYTES:
                raise too_long(source, number)
            _, row = next(lines, (0, ""))
            position = 0
            if not row:
                raise bad_line(source, number, "a quote that opens a cell is never closed", _CSV_HINT)
        elif row.startswith(_QUOTE, stop + 1):
            parts.append(row[position : stop + 1])
            position = stop + 2
        else:
            return "".join((*parts, row[position:stop])), row, stop + 1


def _rows(source: str, records: Iterator[_Record], fields: Fields, hint: str) -> Iterator[Row]:
    header = next(records)
    names = [_name(cell) for cell in header.cells]
    for field in fields.names:
        if names.count(field) > 1:
            what = f"the header has more than one column {field!r}"
            raise bad_line(source, header.line, what, "Rename all but one of them.")
    for field in (fields.text, *fields.keep):
        if field not in names:
            marks = "tabs" if hint is _TSV_HINT else "commas, semicolons or tabs"
            how = f"Begin the file with a line of column names between {marks}, one of them {field!r}."
            raise bad_line(source, header.line, f"the header has no field {field!r}", how)
    kept = [names.index(field) for field in fields.keep]
    text, label = names.index(fields.text), names.index(fields.label) if fields.label in names else None
    for line, cells in records:
        if len(cells) != len(names):
            raise bad_line(source, line, f"{len(cells)} fields where the header has {len(names)}", hint)
        named = "" if label is None else cells[label]
        yield Row(line, cells[text], Label(Kind.STRING, named) if named else None, tuple(cells[k] for k in kept))


def _without_quoting(source: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows unless all texts or all labels are in quotes; a single text may be a quotation."""
    held: list[Row] = []
    texts = labels = True
    for row in rows:
        held.append(row)
        texts = texts and _in_quotes(row.text)
        labels = labels and row.label is not None and _in_quotes(row.label.name)
        if not (texts or labels):
            yield from held
            held.clear()
    if labels or len(held) > 1:
        what = f"every {'label' if labels else 'text'} is in quotes, which would become part of it"
        raise bad_line(source, held[0].line, what, "Take the quotes off, put them around the header too, or write CSV.")
    yield from held
