"""What the pictures of all experiments share: axes, heat maps and lines in colours that everybody can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from securealign.harness.bench.drawing import COLOURS, GRID, INK, MUTED, load_figures

MARKS = "osD^v*PX"
#: Eight that all kinds of colour vision tell apart (Okabe and Ito 2008), in the order of the marks.
PALETTE = (*COLOURS, "#009E73", "#CC79A7", "#000000", "#999999")
#: From light to dark in grey as in colour.
HEAT = "cividis"
_BRIGHT_ENOUGH = 0.55


def new_figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    """Return a figure with a grid of axes, in inches, and the axes row by row."""
    figure = load_figures().Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.tick_params(labelsize=8.5, labelcolor=INK)
    return figure, axes


def heat_map(
    axis: Any,  # noqa: ANN401 - matplotlib has no types here
    values: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    row_label: str,
    column_label: str,
    limits: tuple[float, float] = (0.0, 1.0),
    digits: int = 2,
) -> None:
    """Draw values by (row, column) as colours with their numbers; a pair without a value stays empty."""
    grid = np.array([[values.get((row, column), np.nan) for column in columns] for row in rows])
    axis.imshow(grid, cmap=HEAT, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            share = (value - limits[0]) / (limits[1] - limits[0])
            colour = "black" if share > _BRIGHT_ENOUGH else "white"
            axis.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel(column_label, fontsize=9, color=MUTED)
    axis.set_ylabel(row_label, fontsize=9, color=MUTED)
    axis.set_title(title, fontsize=10.5, color=INK, loc="left")


def lines(
    axis: Any,  # noqa: ANN401 - matplotlib has no types here
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    logarithmic: bool = False,
    spread: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    legend: str | None = "lower right",
) -> None:
    """Draw lines through (x, y) points; `spread` holds (low, high) for each point of a line, `legend` its place."""
    for index, (name, points) in enumerate(series.items()):
        xs, ys = zip(*points, strict=True)
        colour = PALETTE[index % len(PALETTE)]
        axis.plot(xs, ys, color=colour, marker=MARKS[index % len(MARKS)], markersize=4.5, linewidth=1.4, label=name)
        if spread and name in spread:
            low, high = zip(*spread[name], strict=True)
            axis.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    if logarithmic:
        axis.set_xscale("log")
    axis.set_xlabel(x_label, fontsize=9, color=MUTED)
    axis.set_ylabel(y_label, fontsize=9, color=MUTED)
    axis.set_title(title, fontsize=10.5, color=INK, loc="left")
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    if len(series) > 1 and legend is not None:
        # A place that is given: looking for the best one takes long enough on a busy machine for a warning.
        axis.legend(frameon=False, fontsize=8.5, loc=legend)
