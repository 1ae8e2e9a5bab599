"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from securealign.harness.bench.drawing import GRID, INK, MUTED
from securealign.lab.experiments.classification.tally import (
    all_losses,
    columns,
    is_main,
    main_pairs,
    mapped_accuracies,
    own_accuracy,
    pairs_of,
    shot_accuracies,
)
from securealign.lab.experiments.figures import MARKS, PALETTE, heat_map, lines, new_figure
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: Points; the end of the colours.
_MOST_LOST = 50.0


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: losses of all pairs, shots, and loss against what the map explains."""
    return {"losses": _losses(result), "shots": _shots(result), "explained": _explained(result)}


def _losses(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    encoders, tasks, own = list(result.settings["encoders"]), list(result.settings["tasks"]), own_accuracy(result)
    size = 1.5 + 0.62 * len(encoders)
    figure, axes = new_figure(1, 2, width=2 * size, height=size)
    titles = {"task": "map fitted on the task's texts", "public": "map fitted on public texts"}
    for axis, (fitted_on, title) in zip(axes, titles.items(), strict=True):
        lost = {
            pair: 100 * fmean(
                own[pair[1], task] - fmean(mapped_accuracies(result, fitted_on, [task], [pair]))
                for task in tasks
            )
            for pair in pairs_of(result)
        }  # fmt: skip
        heat_map(
            axis,
            lost,
            encoders,
            encoders,
            title=f"Points lost, {title}",
            row_label="client's encoder",
            column_label="provider's encoder",
            limits=(0.0, _MOST_LOST),
            digits=1,
        )
    return figure


def _shots(result: Result) -> Any:  # noqa: ANN401
    tasks = list(result.settings["tasks"])
    across = min(3, len(tasks))
    rows = -(-len(tasks) // across)
    figure, axes = new_figure(rows, across, width=4.2 * across, height=3.2 * rows)
    for axis, task in zip(axes, tasks, strict=False):
        _shots_panel(axis, result, task)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    return figure


def _shots_panel(axis: Any, result: Result, task: str) -> None:  # noqa: ANN401
    shots, pairs = result.settings["shots"], main_pairs(result)
    sources, own = {source for source, _ in pairs}, own_accuracy(result)
    alone = [
        (count, 100 * fmean(value for name in sources for value in shot_accuracies(result, name, task, count)))
        for count in shots
    ]
    mapped = [
        (count, 100 * fmean(mapped_accuracies(result, name, [task], pairs)))
        for count, name in zip((0, *shots), columns(result), strict=False)
    ]
    lines(
        axis,
        {"client alone": alone, "mapped": mapped},
        title=task,
        x_label="texts of the task that are shared",
        y_label="accuracy, %",
    )
    full = 100 * fmean(own[target, task] for _, target in pairs)
    axis.axhline(full, color=MUTED, linestyle=":", linewidth=1.2)
    axis.annotate("provider's own", (0, full), fontsize=8, color=MUTED, xytext=(2, 2), textcoords="offset points")


def _explained(result: Result) -> Any:  # noqa: ANN401
    figure, axes = new_figure(1, 2, width=11.5, height=4.6)
    found = all_losses(result)
    panels: dict[str, Callable[[Row], float]] = {
        "points by which the client's own head is worse than the provider's": lambda row: (
            100 * (row["provider_own"] - row["client_own"])
        ),
        "share of the provider's test embeddings that the map explains, R²": lambda row: row["r2"],
    }
    for axis, (label, value) in zip(axes, panels.items(), strict=True):
        for index, task in enumerate(result.settings["tasks"]):
            rows = [row for row in found if row["data"] == task]
            axis.scatter(
                [value(row) for row in rows],
                [100 * (row["provider_own"] - row["mapped"]) for row in rows],
                s=[34 if is_main(result, row) else 12 for row in rows],
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
