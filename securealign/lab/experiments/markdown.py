"""Tables and figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table, its first `left` columns aligned to the left and the others to the right."""
    rules = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in (header, rules, *rows))


def _cell(text: str) -> str:
    # A table's line must stay one line, and its bars its own.
    return text.replace("|", "\\|").replace("\n", " ")


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal, without the sign."""
    return f"{value * 100:.1f}"


def percent_spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation of shares as percentages, or the only one of them."""
    if len(values) < 2:
        return percent(values[0]) if values else ""
    return f"{percent(fmean(values))} ± {stdev(values) * 100:.1f}"


def picture(file: str, description: str) -> str:
    """Return a picture with a description for those who do not see it."""
    return f"![{description}](results/{file})"


def command(line: str) -> str:
    """Return a command line as a block of code."""
    return f"    {line}"
