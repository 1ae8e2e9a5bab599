"""Markdown from Jinja2 templates: `templates/*.md.j2` hold the prose and the tables, Python gives the values.

Templates fill a format string with the fields of each row: `{{ rows | each("| {name} | {share:pct} |") }}`. Beside
Python's formats there are `pct` (a share in percent, one decimal, no sign) and, for lists, a summary with the format of
its numbers, such as `{auroc:range .3f}`. A missing value is left empty. `grid` and `wide` make tables
whose columns depend on the result.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from statistics import fmean, stdev
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

#: What templates go through: a mapping gives rows with `name` and `value`.
Rows = pl.DataFrame | Mapping[str, Any] | Iterable[Mapping[str, Any]]

#: Lines that start a block of their own: headings, tables, code, pictures, HTML, items of lists.
_BLOCK = re.compile(r"#|\||    |!\[|<|[-*] |\d+\. ")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table, its first `left` columns aligned to the left and the others to the right."""
    rules = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in (header, rules, *rows))


def render(template: str, **values: object) -> str:
    """Return a template of `templates/` with its values; each paragraph becomes one line."""
    text = _environment().get_template(template).render(values)
    lines: list[str] = []
    for line in re.sub(r"\n{3,}", "\n\n", text).strip().split("\n"):
        goes_on = lines and lines[-1] and line and not _BLOCK.match(line) and not re.match(r"[#|!<]|    ", lines[-1])
        if goes_on:
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("securealign.lab.experiments"),
        autoescape=False,  # noqa: S701 - Markdown, made of our own results
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"each": each, "fill": fill, "grid": grid, "wide": wide, "fmt": _Cells().format_field}
    environment.globals["table"] = table
    return environment


def each(rows: Rows, pattern: str, separator: str = "\n") -> str:
    """Fill the pattern with the fields of each row."""
    return separator.join(fill(row, pattern) for row in _dicts(rows))


def grid(rows: Rows, columns: Sequence[tuple[str, str]], left: int = 1) -> str:
    """Return a table with a line for each row and the columns (header, pattern)."""
    return table(
        [header for header, _ in columns],
        [[fill(row, cell) for _, cell in columns] for row in _dicts(rows)],
        left=left,
    )


def wide(rows: Rows, labels: Mapping[str, str], column: str, cell: str) -> str:
    """Return a table with a line for each text of `labels` (headers to patterns) and a column for each of `column`."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in _dicts(rows):
        line = lines.setdefault(tuple(fill(row, label) for label in labels.values()), {})
        line[fill(row, column)] = fill(row, cell)
    columns = list(dict.fromkeys(name for line in lines.values() for name in line))
    body = [[*label, *(line.get(name, "") for name in columns)] for label, line in lines.items()]
    return table([*labels, *columns], body, left=len(labels))


def _dicts(rows: Rows) -> Iterable[Mapping[str, Any]]:
    if isinstance(rows, Mapping):
        return [{"name": name, "value": value} for name, value in rows.items()]
    return rows.to_dicts() if isinstance(rows, pl.DataFrame) else rows


def fill(row: Mapping[str, Any], pattern: str) -> str:
    """Fill the pattern with the fields of one row."""
    return _Cells().vformat(pattern, (), row)


def _cell(text: str) -> str:
    # A row of a table must stay one line, and a bar in a text must not end a cell.
    return text.replace("|", "\\|").replace("\n", " ")


def _spread(values: Sequence[float], number: Callable[[float], str]) -> str:
    """Return mean and standard deviation, or the only value."""
    return number(fmean(values)) + (f" ± {number(stdev(values))}" if len(values) > 1 else "")


#: How a list of numbers becomes one text; `interval` takes a value and the ends of its interval.
_SUMMARIES: Mapping[str, Callable[[Sequence[float], Callable[[float], str]], str]] = {
    "mean": lambda values, number: number(fmean(values)),
    "spread": _spread,
    "ends": lambda values, number: f"{number(min(values))} to {number(max(values))}",
    "range": lambda values, number: f"{number(fmean(values))} ({number(min(values))} to {number(max(values))})",
    "interval": lambda values, number: f"{number(values[0])} ({number(values[1])} to {number(values[2])})",
}


class _Cells(string.Formatter):
    """Python's format strings, with `pct`, summaries of lists, and nothing for what is missing."""

    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401 - as its base has it
        if value is None or (isinstance(value, list) and (not value or value[0] is None)):
            return ""
        summary, _, number = format_spec.rpartition(" ")
        if summary:
            return _SUMMARIES[summary](value, lambda one: self.format_field(one, number))
        if format_spec == "pct":
            return f"{100 * value:.1f}"
        return _cell(value) if isinstance(value, str) and not format_spec else str(format(value, format_spec))
