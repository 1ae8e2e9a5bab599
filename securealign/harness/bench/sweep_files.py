"""The points of a sweep as a table in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from securealign.harness.bench.sweep import Point
from securealign.transport.stats import FIGURES


def points_as_csv(points: Sequence[Point]) -> bytes:
    """Return one line for each point and phase of the protocol, with the total of each session as phase "total"."""
    text = io.StringIO()
    sizes = list(asdict(points[0].sizes))
    results = list(points[0].results)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["suite", "network", "seed", *sizes, "session", "phase", *FIGURES, *results])
    for point in points:
        known = [point.suite, point.network, point.seed, *asdict(point.sizes).values()]
        for session, stats in (("training", point.training), ("inference", point.inference)):
            for phase, figures in (*stats.phases.items(), ("total", stats)):
                own = [getattr(figures, name) for name in FIGURES]
                writer.writerow([*known, session, phase, *own, *point.results.values()])
    return text.getvalue().encode()
