"""Lines of text files with their numbers, and the rules that all formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from securealign.data.labels import Label
from securealign.errors import ErrorCode, InputError

_BOM = b"\xef\xbb\xbf"
#: Longest line, and longest cell over several lines: what is longer is no text, and would fill the memory.
MAX_LINE_BYTES = 16 << 20


class Fields(NamedTuple):
    """The names of the fields or columns that hold text and label, and of others to keep; None leaves labels unread."""

    text: str
    label: str | None
    keep: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names that are needed."""
        return [self.text, *([] if self.label is None else [self.label]), *self.keep]


class Row(NamedTuple):
    """A text with its label and what is kept of other fields, and the line on which it begins, counted from 1."""

    line: int
    text: str
    label: Label | None
    kept: tuple[Any, ...] = ()


Line = tuple[int, str]
Parser = Callable[[str, Iterator[Line], Fields], Iterator[Row]]


def decoded(source: str, file: BinaryIO) -> Iterator[Line]:
    """Yield the lines with their numbers and line ends; raises `InputError` for one that is too long or no UTF-8."""
    # Lines end at "\n" alone: str.splitlines would also cut at U+2028 and others that JSON and prose may hold.
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise too_long(source, number)
        if b"\0" in line:
            what = "a NUL byte stands in the line"
            raise bad_line(source, number, what, "Save the file as UTF-8; UTF-16 holds such bytes.")
        # Spreadsheets write a byte order mark that would otherwise become part of the first field's name.
        body = line.removeprefix(_BOM) if number == 1 else line
        try:
            yield number, body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise bad_line(source, number, f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8.") from None


def too_long(source: str, number: int) -> InputError:
    """Return the error for a line or a cell that is too long, to raise."""
    return bad_line(source, number, f"more than {MAX_LINE_BYTES >> 20} MiB without an end", "Write one text a line.")


def is_blank(line: str) -> bool:
    """Return whether a line holds white space alone: in every format, such a line is no row."""
    return not line.strip()


def without_end(source: str, number: int, line: str) -> str:
    """Return a line without its LF or CRLF; raises `InputError` for a carriage return elsewhere in it."""
    body = line.removesuffix("\n").removesuffix("\r")
    # A carriage return alone ends no line here; all lines would become one text.
    if "\r" in body:
        what = "a carriage return stands inside the line"
        raise bad_line(source, number, what, "End lines with LF or CRLF; texts that hold line ends go into JSONL.")
    return body


def bad_line(source: str, line: int, what: str, hint: str) -> InputError:
    """Return an error that names file and line, to raise; `what` holds nothing of the text, which may be private."""
    return InputError(f"{source}, line {line}: {what}.", hint=hint, code=ErrorCode.FILE_INVALID)


def parse_plain(source: str, lines: Iterator[Line], fields: Fields) -> Iterator[Row]:
    """Yield each line that is not blank as a text; raises `InputError` where other fields are asked for."""
    if fields.keep:
        raise InputError(
            f"{source} holds lines of text, which have no column {fields.keep[0]!r}.",
            hint="Leave --keep out, or write the texts as JSONL, CSV or Parquet.",
            code=ErrorCode.FILE_INVALID,
        )
    for number, line in lines:
        if not is_blank(line):
            yield Row(number, without_end(source, number, line), None)
