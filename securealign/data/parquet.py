"""Rows of Parquet files, read in batches; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securealign.data.labels import Kind, Label
from securealign.data.lines import Fields, Row
from securealign.errors import ErrorCode, InputError
from securealign.optional import require

PARQUET = ".parquet"
_BATCH_ROWS = 1024


def parquet_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """Yield the rows, numbered from 1.

    Raises `InputError` for a file that is damaged, lacks a column, or holds no text in a row, `DependencyError` without
    pyarrow.
    """
    pyarrow = require("pyarrow", "A Parquet file", extra="parquet")
    parquet = require("pyarrow.parquet", "A Parquet file", extra="parquet")
    try:
        with parquet.ParquetFile(path) as file:
            names = _columns(path, file.schema_arrow, fields)
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                columns = {name: batch.column(name).to_pylist() for name in names}
                for place in range(batch.num_rows):
                    number += 1
                    yield _row(path, number, {name: column[place] for name, column in columns.items()}, fields)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise _invalid(path, f"cannot be read: {reason}", "Write it again, with texts in UTF-8.") from error


def _columns(path: Path, schema: Any, fields: Fields) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    """Return the columns to read; labels may be missing."""
    names = list(dict.fromkeys(name for name in fields.names if name in schema.names or name != fields.label))
    for name in names:
        count = schema.names.count(name)
        if count != 1:
            raise _invalid(path, f"has {count or 'no'} columns {name!r}", "Name a column that is there once.")
    for name in fields.keep:
        if not _is_plain(schema.field(name).type):
            kind = schema.field(name).type
            raise _invalid(path, f"has a column {name!r} of the type {kind}", "Convert it to strings to keep it.")
    return names


def _is_plain(kind: Any) -> bool:  # noqa: ANN401
    """Return whether the values of a type are what JSON holds."""
    types = require("pyarrow.types", "A Parquet file", extra="parquet")
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return any(test(kind) for test in (*tests, types.is_null))


def _row(path: Path, number: int, values: dict[str, Any], fields: Fields) -> Row:
    text, label = values[fields.text], values.get(fields.label) if fields.label is not None else None
    if not isinstance(text, str):
        raise _invalid(path, f"holds no text in row {number}", f"Write a string into the column {fields.text!r}.")
    kept = tuple(values[name] for name in fields.keep)
    if any(isinstance(value, float) and not -float("inf") < value < float("inf") for value in kept):
        raise _invalid(path, f"holds a number to keep in row {number} that is not finite", "Write null instead.")
    return Row(number, text, None if label is None or label == "" else Label(Kind.STRING, str(label)), kept)


def _invalid(path: Path, what: str, hint: str) -> InputError:
    return InputError(f"{path} {what}.", hint=hint, code=ErrorCode.FILE_INVALID)
