"""docs/results.md: the sections of all experiments, from their results alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from securealign.errors import InputError
from securealign.lab.experiments.findings import findings
from securealign.lab.experiments.markdown import render
from securealign.lab.experiments.result import Result, read_result
from securealign.lab.experiments.run import EXPERIMENTS, part


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
    return render("page.md.j2", contents={title: _anchor(title) for title in titles}, sections=shown) + "\n"


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results in a folder; raises `InputError` when there is none."""
    found = {name: read_result(path) for name in EXPERIMENTS if (path := folder / f"{name}.json").exists()}
    if not found:
        raise InputError(
            f"{folder} holds no result of an experiment.",
            hint=f"Make them by 'securealign experiment all --output {folder}'.",
        )
    return found


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")
