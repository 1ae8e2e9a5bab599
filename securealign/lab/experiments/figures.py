"""What the pictures of all experiments share: axes, heat maps and lines in colours that everybody can tell apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from securealign.harness.bench.drawing import COLOURS, INK, grid, label, load_figures

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
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8.5, labelcolor=INK)
    return figure, axes


def heat_map(
    axis: Any,  # noqa: ANN401 - matplotlib has no types here
    values: Iterable[tuple[str, str, float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    row_label: str,
    column_label: str,
    limits: tuple[float, float] | None = (0.0, 1.0),
    digits: int = 2,
) -> None:
    """Draw (row, column, value) as colours between `limits` (0 and the largest without) with their numbers."""
    cells = {(row, column): value for row, column, value in values}
    limits = limits or (0.0, max(*cells.values(), 0.01))
    grid = np.array([[cells.get((row, column), np.nan) for column in columns] for row in rows])
    axis.imshow(grid, cmap=HEAT, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            share = (value - limits[0]) / (limits[1] - limits[0])
            colour = "black" if share > _BRIGHT_ENOUGH else "white"
            axis.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    label(axis, title, column_label, row_label)


def pair_heat_maps(
    names: Sequence[str],
    panels: Mapping[str, Iterable[tuple[str, str, float]]],
    *,
    margin: float = 2.0,
    row_label: str = "client's encoder",
    column_label: str = "provider's encoder",
    **options: Any,  # noqa: ANN401 - those of `heat_map`
) -> Any:  # noqa: ANN401
    """Return a figure with a heat map by title, all of pairs of the same names; `margin`, in inches, is for texts."""
    size = margin + 0.62 * len(names)
    figure, axes = new_figure(1, len(panels), width=len(panels) * size, height=size)
    for axis, (title, cells) in zip(axes, panels.items(), strict=True):
        heat_map(axis, cells, names, names, title=title, row_label=row_label, column_label=column_label, **options)
    return figure


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
    label(axis, title, x_label, y_label)
    grid(axis)
    if len(series) > 1 and legend is not None:
        # A place that is given: looking for the best one takes long enough on a busy machine for a warning.
        axis.legend(frameon=False, fontsize=8.5, loc=legend)
