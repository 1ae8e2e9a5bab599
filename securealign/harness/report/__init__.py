"""Recorded runs as one page that anyone can open: what was done, what travelled, what it cost, who saw what.

`steps`, `activity`, `words` and `comparison` compute what is shown; the templates hold the prose (`words.html`,
`ledger.html`) and the drawings (`drawings.html`, called by `bars` and `timeline`); `page` fills them in. Every number
on the page is a `Shown` of `units`: words for the eye, and beside them the exact value from the file. The texts in a
run file come from a stranger, so templates escape them.
"""

from __future__ import annotations

from securealign.harness.report.page import render
from securealign.harness.runs.reading import read_run
from securealign.harness.runs.records import Run, Session

__all__ = ["Run", "Session", "read_run", "render"]
