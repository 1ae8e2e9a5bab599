"""Texts from files of the user: JSONL, CSV, TSV, Parquet, plain lines, or standard input.

Nothing is skipped or repaired: on one side only, that would shift every row after it, and the parties' rows would no
longer belong together. Blank lines are skipped in every format.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from securealign.data.datasets import TextDataset
from securealign.data.jsonl import parse_jsonl
from securealign.data.labels import number_labels
from securealign.data.lines import Fields, Parser, Row, decoded, parse_plain
from securealign.data.parquet import PARQUET, parquet_rows
from securealign.data.tables import SEPARATORS, first_row, header_names, parse_csv, parse_tsv
from securealign.errors import ConfigurationError, ErrorCode, InputError

STDIN = "-"
LABEL_FIELD = "label"
_PLAIN_NAME = re.compile(r"[\w.-]{1,64}")


def load_texts(
    path: str | Path,
    *,
    text_field: str = "text",
    label_field: str | None = None,
    limit: int | None = None,
    class_names: Sequence[str] | None = None,
) -> TextDataset:
    """Return the texts of a .jsonl, .ndjson, .csv, .tsv, .parquet or .txt file, or of standard input for "-".

    CSV and TSV begin with a header line; a .txt file holds one text a line. Standard input is JSONL when its first line
    starts with "{", a table when that is a header with `text_field`, and plain lines otherwise. `limit` keeps the first
    rows. Labels are the characters in the file, and optional unless `label_field` names where they are; without it that
    is "label". `class_names` fixes their numbering. Raises `InputError` with the file and line of what is wrong.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"The limit is {limit}.", hint="Ask for at least one text.")
    name = name_of(path)
    rows = list(islice(iterate_rows(path, Fields(text_field, label_field or LABEL_FIELD)), limit))
    if not rows:
        raise InputError(f"{name} holds no texts.", hint="Give a file with at least one text.")
    labels, names = number_labels(name, [row.line for row in rows], [row.label for row in rows], class_names)
    if labels is None and label_field is not None:
        raise InputError(
            f"{name} has no labels in a field or column {label_field!r}.",
            hint="Name the one that holds them.",
            code=ErrorCode.FILE_INVALID,
        )
    return TextDataset(name=name, texts=tuple(row.text for row in rows), labels=labels, class_names=names)


def name_of(path: str | Path) -> str:
    """Return what messages call a file of texts, or standard input for "-"."""
    return "standard input" if str(path) == STDIN else str(path)


def iterate_rows(path: str | Path, fields: Fields) -> Iterator[Row]:
    """Yield the rows of a file of texts, or of standard input for "-", as they are read; see `load_texts`."""
    if str(path) == STDIN:
        name = name_of(path)
        first, lines = first_row(decoded(name, sys.stdin.buffer))
        parser = _parser_of(first[1] if first else "", fields.text)
        yield from parser(name, lines, fields)
    else:
        yield from _rows_of_file(Path(path), fields)


def _rows_of_file(path: Path, fields: Fields) -> Iterator[Row]:
    suffix = path.suffix.lower()
    parser = _PARSERS.get(suffix)
    if parser is None and suffix != PARQUET:
        raise InputError(
            f"{path} has no known kind of text file.",
            hint=f"Name it {', '.join((*_PARSERS, PARQUET))}.",
            code=ErrorCode.FILE_INVALID,
        )
    try:
        if parser is None:
            yield from parquet_rows(path, fields)
            return
        with path.open("rb") as file:
            yield from parser(str(path), decoded(str(path), file), fields)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path.", code=ErrorCode.FILE_INVALID
        ) from error


def _parser_of(line: str, text_field: str) -> Parser:
    """Return what reads standard input that begins with this line."""
    if line.lstrip().startswith("{"):
        return parse_jsonl
    for separator in SEPARATORS:
        names = header_names(line, separator)
        # A sentence may well hold the word between commas, but not only names.
        if text_field in names and all(map(_PLAIN_NAME.fullmatch, names)):
            return parse_tsv if separator == "\t" else parse_csv
    return parse_plain


_PARSERS: dict[str, Parser] = {
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".csv": parse_csv,
    ".tsv": parse_tsv,
    ".txt": parse_plain,
}
