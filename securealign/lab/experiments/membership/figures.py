"""Pictures of the experiment: each attack against each quantity that was varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import lines, new_figure
from securealign.lab.experiments.membership.interval import CHANCE, FALSE_ALARMS
from securealign.lab.experiments.membership.values import CASE, LABELS, points
from securealign.lab.experiments.result import Result

_WIDTH, _HEIGHT = 3.3, 2.9


def figures(result: Result) -> Mapping[str, Any]:
    """Return pictures by name: accuracy, and right alarms at 1 % of false ones, each with intervals and chance."""
    return {
        "accuracy": _grid(result, "accuracy", "accuracy", CHANCE),
        "alarms": _grid(result, "TPR", f"right alarms at {FALSE_ALARMS:.0%} of false ones", FALSE_ALARMS),
    }


def _grid(result: Result, column: str, label: str, chance: float) -> Any:  # noqa: ANN401 - matplotlib has no types here
    found = points(result).partition_by(CASE, maintain_order=True)
    figure, axes = new_figure(len(found), len(LABELS), width=_WIDTH * len(LABELS), height=_HEIGHT * len(found))
    panels = iter(axes)
    for case in found:
        for sweep, (_, text) in LABELS.items():
            axis, rows = next(panels), case.filter(sweep=sweep)
            series = {
                str(attack): part[f"{column}_interval"]
                for (attack,), part in rows.group_by("attack", maintain_order=True)
            }
            lines(
                axis,
                {name: [(place, value) for place, (value, _, _) in enumerate(part)] for name, part in series.items()},
                title=f"{case['target'][0]} <- {case['source'][0]}",
                x_label=text,
                y_label=label,
                spread={name: [(low, high) for _, low, high in part] for name, part in series.items()},
                legend="center right",
            )
            axis.axhline(chance, color=MUTED, linewidth=0.9, linestyle=":")
            ticks = rows["value"].unique(maintain_order=True)
            axis.set_xticks(range(len(ticks)), ticks)
            axis.set_ylim(-0.03 if chance < CHANCE else 0.4, 1.03)
    return figure
