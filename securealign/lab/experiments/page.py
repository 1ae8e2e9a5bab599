"""docs/results.md: the sections of all experiments, from their results alone, as Jinja2 templates have them.

`templates/*.md.j2` hold the prose and the tables, Python gives the values. Templates fill a format string with the
fields of each row: `{{ rows | each("| {name} | {share:pct} |") }}`. Beside Python's formats there are `pct` (a share in
percent, one decimal, no sign) and, for lists, a summary with the format of its numbers, such as `{auroc:range .3f}`. A
missing value is left empty. `grid` and `wide` make tables whose columns depend on the result.
"""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment
from scipy.stats import spearmanr

from securealign.errors import InputError
from securealign.harness.report import templating
from securealign.lab.experiments.classification.values import PAIR, losses
from securealign.lab.experiments.run import EXPERIMENTS, Result, part, read_result

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
    environment = templating.environment("securealign.lab.experiments")
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


#: How a list of numbers becomes one text; `interval` takes a value and the ends of its interval.
_SUMMARIES: Mapping[str, Callable[[Sequence[float], Callable[[float], str]], str]] = {
    "mean": lambda values, number: number(fmean(values)),
    "spread": lambda values, number: number(fmean(values)) + (f" ± {number(stdev(values))}" if values[1:] else ""),
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


#: Difference of two accuracies on some hundred texts that counts as none.
_ALIKE = 0.03


def findings(results: Mapping[str, Result]) -> str:
    """Return a section of findings, each with its numbers; empty without the classification experiment."""
    if "classification" not in results:
        return ""
    result = results["classification"]
    usual = losses(result, fit=result.settings["map"]).filter("main")
    on_task, on_public = usual.filter(fitted_on="task"), usual.filter(fitted_on="public")
    by_task = (
        on_public.group_by("data", maintain_order=True).agg(pl.col("lost").mean()).sort("lost", maintain_order=True)
    )
    return render(
        "findings.md.j2",
        alike=_ALIKE,
        on_task=on_task,
        gap=rank_correlation(on_task["lost"], on_task["provider_own"] - on_task["client_own"]),
        unexplained=rank_correlation(on_task["lost"], 1 - on_task["r2"]),
        near=((on_task["mapped"] - on_task["client_own"]).abs() <= _ALIKE).sum(),
        on_public=on_public,
        best=by_task.row(0, named=True),
        worst=by_task.row(-1, named=True),
        **_beforehand(on_public, result, results.get("similarity")),
    )


def _beforehand(on_public: pl.DataFrame, result: Result, similarity: Result | None) -> dict[str, Any]:
    """Return by how much losses with public maps go with what is known beforehand; nothing for less than 3 pairs."""
    if similarity is None:
        return {}
    known = (
        similarity.frame("pairs")
        .filter(corpus="public")
        .group_by("encoder", "other")
        .agg(pl.col("cka_debiased").last())
    )
    both = pl.concat([known, known.select(encoder="other", other="encoder", cka_debiased="cka_debiased")])
    pairs = (
        on_public.group_by(PAIR, maintain_order=True)
        .agg(pl.col("lost").mean(), pl.col("client_own").mean())
        .join(result.frame("pairs").select(*PAIR, "r2_unseen"), on=PAIR)
        .join(both, left_on=PAIR, right_on=("encoder", "other"))
    )
    if len(pairs) < 3:
        return {}
    known_beforehand = {"cka": "cka_debiased", "r2": "r2_unseen", "client": "client_own"}
    return {name: rank_correlation(pairs["lost"], pairs[column]) for name, column in known_beforehand.items()}


def rank_correlation(first: Sequence[float] | pl.Series, second: Sequence[float] | pl.Series) -> float:
    """Return Spearman's rank correlation, 0 where one does not vary."""
    varies = all(np.ptp(np.asarray(values)) > 0 for values in (first, second))
    return float(spearmanr(first, second).statistic) if varies else 0.0


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures of a result by name; none where all pairs of encoders are unrelated."""
    drawn: Mapping[str, Any] = {} if result.unrelated_only else part(result.experiment, "figures")(result)
    return drawn


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal."""
    if result.unrelated_only:
        return "Pairs of encoders that are unrelated", result.frame("unrelated")
    found: tuple[str, pl.DataFrame] = part(result.experiment, "summary")(result)
    return found


def section(result: Result) -> str:
    """Return the section of one experiment: its template, filled with the values that its result gives."""
    if result.unrelated_only:
        return render("unrelated_only.md.j2", result=result)
    values = part(result.experiment, "values")(result)
    return render(f"{result.experiment}.md.j2", result=result, settings=result.settings, **values)


def page(results: Mapping[str, Result]) -> str:
    """Return the page of some results, by experiment."""
    sections = [findings(results), *(section(results[name]) for name in EXPERIMENTS if name in results)]
    shown = [text for text in sections if text]
    titles = [text.partition("\n")[0].removeprefix("## ") for text in shown]
    contents = {title: re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    return render("page.md.j2", contents=contents, sections=shown) + "\n"


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results in a folder; raises `InputError` when there is none."""
    found = {name: read_result(path) for name in EXPERIMENTS if (path := folder / f"{name}.json").exists()}
    if not found:
        raise InputError(
            f"{folder} holds no result of an experiment.",
            hint=f"Make them by 'securealign experiment all --output {folder}'.",
        )
    return found
