"""Recorded runs as one page that anyone can open: what was done, what travelled, what it cost, who saw what.

`steps`, `activity`, `ledger` and `comparison` turn the records of run files into what is shown; `sequence`, `timeline`
and `bars` draw it with `svg`; `page` puts it into the template. Every number on the page is a `Shown` of `units`: words
for the eye, and beside them the exact value from the file.
Everything in a run file is the text of a stranger.
"""

from __future__ import annotations

from securealign.harness.report.page import render
from securealign.harness.runs.reading import read_run
from securealign.harness.runs.records import Run, Session

__all__ = ["Run", "Session", "read_run", "render"]
