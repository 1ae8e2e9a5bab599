"""The history of benchmarks: a file of JSON lines, one for each run, with ratios that are measured within the run.

A ratio to the computation in clear on the same machine at the same time says more than seconds, which differ between
machines. Bytes and errors depend on the code alone.
"""

import json
from dataclasses import astuple
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from securealign.errors import FileError
from securealign.harness.bench.inference import InferenceReport
from securealign.harness.bench.rows import CLEAR, RATIO
from securealign.harness.bench.training import TrainingReport

#: Fields of a report that say what was measured, as far as it has them.
_SIZES = ("samples", "dim_a", "dim_b", "features", "classes", "queries", "pool_slots")


def require_history(file: Path) -> None:
    """Raise `InputError` for a file with a line that is no entry of a history; a missing file is an empty history."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            known = "figures" in json.loads(line)
        except (ValueError, TypeError):
            known = False
        if not known:
            raise FileError(
                f"{file}, line {number}, is no entry of a history of benchmarks.",
                hint="Give --history a file of its own.",
            )


def append(file: Path, report: TrainingReport | InferenceReport) -> None:
    """Add a run to a history."""
    with file.open("a", encoding="utf-8") as history:
        history.write(json.dumps(entry(report)) + "\n")


def entry(report: TrainingReport | InferenceReport) -> dict[str, Any]:
    """Return the entry of a run: day, sizes, machine, and by suite its runs and figures (median, minimum, maximum)."""
    figures: dict[str, dict[str, list[float]]] = {}
    for row in report.figures:
        compared = row.unit in {RATIO, "%"} or row.figure.endswith((" to provider", " to client"))
        if row.suite != CLEAR and compared and row.value.maximum:
            label = row.figure if row.unit == RATIO else f"{row.figure}, {row.unit}"
            figures.setdefault(row.suite, {})[label] = [float(f"{value:.4g}") for value in astuple(row.value)]
    return {
        "day": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "kind": report.figures[0].phase,
        "sizes": {name: getattr(report, name) for name in _SIZES if hasattr(report, name)},
        "environment": report.environment,
        "runs": {suite: len(report.measurements[suite]) for suite in figures},
        "figures": figures,
    }
