"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import GRID, INK, MUTED
from securealign.lab.experiments.classification.values import FITTED_ON, PAIR, losses, shot_accuracies
from securealign.lab.experiments.figures import MARKS, PALETTE, lines, new_figure, pair_heat_maps
from securealign.lab.experiments.result import Result

#: Points; the end of the colours.
_MOST_LOST = 50.0


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: losses of all pairs, shots, and loss against what the map explains."""
    usual = losses(result, fit=result.settings["map"])
    return {"losses": _losses(result, usual), "shots": _shots(result), "explained": _explained(result, usual)}


def _losses(result: Result, usual: pl.DataFrame) -> Any:  # noqa: ANN401 - matplotlib has no types here
    means = usual.group_by("fitted_on", *PAIR).agg(pl.col("lost").mean() * 100)
    cells = {
        f"Points lost, map fitted on {words}": means.filter(fitted_on=fitted_on).select(*PAIR, "lost").rows()
        for fitted_on, words in FITTED_ON.items()
    }
    encoders = list(result.settings["encoders"])
    return pair_heat_maps(encoders, cells, margin=1.5, limits=(0.0, _MOST_LOST), digits=1)


def _shots(result: Result) -> Any:  # noqa: ANN401
    tasks = list(result.settings["tasks"])
    across = min(3, len(tasks))
    rows = -(-len(tasks) // across)
    figure, axes = new_figure(rows, across, width=4.2 * across, height=3.2 * rows)
    kind = pl.col("column").str.extract("^(full|alone|public)")
    for axis, task in zip(axes, tasks, strict=False):
        of_task = shot_accuracies(result).filter(data=task).with_columns(pl.col("accuracy") * 100)
        means = of_task.group_by(kind, "shots").agg(pl.col("accuracy").mean()).sort("shots")
        points = {key: rows.select("shots", "accuracy").rows() for (key,), rows in means.group_by("column")}
        lines(
            axis,
            {"client alone": points["alone"], "mapped": points["public"]},
            title=task,
            x_label="texts of the task that are shared",
            y_label="accuracy, %",
        )
        full = of_task.filter(column="full")["accuracy"].mean()
        axis.axhline(full, color=MUTED, linestyle=":", linewidth=1.2)
        axis.annotate("provider's own", (0, full), fontsize=8, color=MUTED, xytext=(2, 2), textcoords="offset points")
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    return figure


def _explained(result: Result, usual: pl.DataFrame) -> Any:  # noqa: ANN401
    figure, axes = new_figure(1, 2, width=11.5, height=4.6)
    found = usual.filter(fitted_on="task")
    panels = {
        "points by which the client's own head is worse than the provider's": (
            100 * (pl.col("provider_own") - pl.col("client_own"))
        ),
        "share of the provider's test embeddings that the map explains, R²": pl.col("r2"),
    }
    for axis, (label, value) in zip(axes, panels.items(), strict=True):
        for index, task in enumerate(result.settings["tasks"]):
            rows = found.filter(data=task)
            axis.scatter(
                rows.select(value).to_series(),
                100 * rows["lost"],
                s=[34 if main else 12 for main in rows["main"]],
                color=PALETTE[index % len(PALETTE)],
                marker=MARKS[index % len(MARKS)],
                label=task,
                alpha=0.75,
                linewidths=0,
            )
        axis.set_xlabel(label, fontsize=9, color=MUTED)
        axis.set_ylabel("accuracy lost by the map, points", fontsize=9, color=MUTED)
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    axes[0].set_title("Small: a static encoder in the pair", fontsize=10.5, color=INK, loc="left")
    axes[0].legend(frameon=False, fontsize=8.5, loc="upper left")
    return figure
