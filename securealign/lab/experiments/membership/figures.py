"""Pictures of the experiment: each attack against each quantity that was varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import lines, new_figure
from securealign.lab.experiments.membership.interval import CHANCE, FALSE_ALARMS
from securealign.lab.experiments.membership.observe import ATTACKS
from securealign.lab.experiments.membership.tally import LABELS, cases, points, shown
from securealign.lab.experiments.result import Result

_WIDTH, _HEIGHT = 3.3, 2.9


def figures(result: Result) -> Mapping[str, Any]:
    """Return pictures by name: accuracy, and right alarms at 1 % of false ones, each with intervals and chance."""
    return {
        "accuracy": _grid(result, "accuracy", "accuracy", CHANCE),
        "alarms": _grid(result, "TPR", f"right alarms at {FALSE_ALARMS:.0%} of false ones", FALSE_ALARMS),
    }


def _grid(result: Result, column: str, label: str, chance: float) -> Any:  # noqa: ANN401 - matplotlib has no types here
    found = cases(result)
    figure, axes = new_figure(len(found), len(LABELS), width=_WIDTH * len(LABELS), height=_HEIGHT * len(found))
    panels = iter(axes)
    for case in found:
        for sweep, (quantity, text) in LABELS.items():
            axis = next(panels)
            series = {attack: points(result, case, sweep, attack) for attack in ATTACKS}
            lines(
                axis,
                {name: [(place, row[column]) for place, row in enumerate(rows)] for name, rows in series.items()},
                title=f"{case.target} <- {case.source}",
                x_label=text,
                y_label=label,
                spread={
                    name: [(row[f"{column} low"], row[f"{column} high"]) for row in rows]
                    for name, rows in series.items()
                },
                legend="center right",
            )
            axis.axhline(chance, color=MUTED, linewidth=0.9, linestyle=":")
            ticks = [shown(row[quantity]) for row in next(iter(series.values()))]
            axis.set_xticks(range(len(ticks)), ticks)
            axis.set_ylim(-0.03 if chance < CHANCE else 0.4, 1.03)
    return figure
