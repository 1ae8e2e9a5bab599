"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.harness.bench.drawing import COLOURS
from securealign.lab.experiments.figures import lines, new_figure
from securealign.lab.experiments.generation.values import sweep, usual
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: first guesses by depth, and loss of each pair beside the native one."""
    return {"depths": _depths(result), "loss": _loss(result)}


def _depths(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    depths = list(result.settings["depths"])
    figure, axes = new_figure(1, 2, width=10.5, height=3.8)
    for axis, like, title in (
        (axes[0], False, "Onto the state that the target's head reads"),
        (axes[1], True, "Onto the target's state of the same depth"),
    ):
        series = {}
        for (name,), rows in sweep(result, like=like).group_by("name", maintain_order=True):
            known = [
                (depths.index(row["depth"]), row["agreement"]) for row in rows.to_dicts() if row["depth"] in depths
            ]
            if len(known) > 1:
                series[str(name)] = sorted(known)
        lines(
            axis,
            series,
            title=title,
            x_label="state of the source",
            y_label="agreement with the target",
            legend="upper right",
        )
        axis.set_xticks(range(len(depths)), depths)
        axis.set_ylim(0, 1.02)
    return figure


def _loss(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    rows = usual(result).to_dicts()
    figure, (axis,) = new_figure(1, 1, width=7.0, height=0.9 + 0.55 * len(rows))
    for place, row in enumerate(rows):
        for shift, column, colour in ((-0.18, "nll_native", COLOURS[0]), (0.18, "nll_mapped", COLOURS[1])):
            axis.barh(place + shift, row[column], height=0.34, color=colour)
            axis.text(row[column], place + shift, f" {row[column]:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("loss of the next token in nats: the target's own state above, mapped below", fontsize=9)
    return figure
