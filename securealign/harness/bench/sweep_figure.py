"""How cost grows: seconds and bytes of a sweep against each size that varies, on logarithmic scales."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securealign.errors import ConfigurationError
from securealign.harness.bench.drawing import COLOURS, MUTED, grid, label, load_figures, picture
from securealign.harness.bench.sweep import Point, Sizes

#: Sizes that may vary, with what an axis calls them.
_SIZES = {
    "samples": "public rows N",
    "dim_a": "dimension of the provider d_A",
    "dim_b": "dimension of the client d_B",
    "classes": "classes K",
    "queries": "queries",
}
_LETTERS = {"samples": "N", "dim_a": "d", "dim_b": "d", "classes": "K", "queries": "m"}
#: Sizes that the costs of training and of a query depend on.
_TRAINING, _INFERENCE = ("samples", "dim_a", "dim_b"), ("dim_a", "classes", "queries")
_MARKS = "osD^v*Px"
_LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
#: Least distance between two labels of slopes, as a share of the axis.
_LEAST_GAP = 0.045
#: Inches.
_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_HEIGHT = 4.6, 3.4, 0.9


@dataclass(frozen=True)
class _Cost:
    """A cost with its unit, and the sizes that it depends on."""

    title: str
    unit: str
    sizes: tuple[str, ...]
    #: Whether it depends on the network.
    travels: bool
    of: Callable[[Point], float]


_COSTS = (
    _Cost("Training, begin to end", "seconds", _TRAINING, True, lambda point: point.training.total_seconds),
    _Cost(
        "Training, bytes both ways", "megabytes", _TRAINING, False,
        lambda point: (point.training.bytes_up + point.training.bytes_down) / 1e6,
    ),
    _Cost(
        "Inference, for each query", "milliseconds", _INFERENCE, True,
        lambda point: point.inference.total_seconds * 1000 / point.sizes.queries,
    ),
)  # fmt: skip


def require_growth(sizes: Sequence[Sizes]) -> list[str]:
    """Return the names of the sizes that vary; raises `ConfigurationError` when none does."""
    varied = [name for name in _SIZES if len({getattr(each, name) for each in sizes}) > 1]
    if not varied:
        raise ConfigurationError(
            "No size varies, so there is no figure.",
            hint="Give lists, such as --samples 500,1000,2000, or leave out --figure.",
        )
    return varied


def draw_growth(points: Sequence[Point], file: Path) -> bytes:
    """Return the picture: a column for each size that varies; raises `ConfigurationError` when none does."""
    varied = require_growth([point.sizes for point in points])
    panels = [(cost, size) for cost in _COSTS for size in varied if size in cost.sizes]
    columns = max(sum(size in cost.sizes for size in varied) for cost in _COSTS)
    rows = -(-len(panels) // columns)
    figure = load_figures().Figure(
        figsize=(max(columns, 2) * _PANEL_WIDTH, rows * _PANEL_HEIGHT + _LEGEND_HEIGHT), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (cost, size) in zip(axes, panels, strict=False):
        _panel(axis, cost, size, points)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis in axes[: len(panels)]:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=4, frameon=False, fontsize=8.5)
    return picture(figure, file)


def _panel(axis: Any, cost: _Cost, size: str, points: Sequence[Point]) -> None:  # noqa: ANN401 - matplotlib has no types
    suites = list(dict.fromkeys(point.suite for point in points))
    networks = list(dict.fromkeys(point.network for point in points))
    ends: list[tuple[float, float, float]] = []
    for (suite, network), line in _lines(cost, size, points).items():
        sizes, costs = zip(*sorted(line.items()), strict=True)
        axis.plot(
            sizes,
            costs,
            color=COLOURS[suites.index(suite) % len(COLOURS)],
            linestyle=_LINES[networks.index(network) % len(_LINES)] if cost.travels else "-",
            marker=_MARKS[(networks.index(network) if cost.travels else suites.index(suite)) % len(_MARKS)],
            markersize=4.5,
            linewidth=1.4,
            label=f"{suite} over {network}" if cost.travels else suite,
        )
        ends.append((costs[-1], sizes[-1], _slope(sizes, costs)))
    axis.set_xscale("log")
    axis.set_yscale("log")
    _name_slopes(axis, _LETTERS[size], ends)
    ticks = sorted({getattr(point.sizes, size) for point in points})
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8.5)
    axis.minorticks_off()
    axis.set_yticks(_ticks(*axis.get_ylim()))
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.tick_params(axis="y", labelsize=8.5)
    axis.margins(x=0.16)
    label(axis, cost.title, _SIZES[size], f"{cost.unit}, logarithmic scale")
    grid(axis)
    axis.spines[["top", "right"]].set_visible(False)


def _name_slopes(axis: Any, letter: str, ends: Sequence[tuple[float, float, float]]) -> None:  # noqa: ANN401
    """Write at the end of each line the power of the size that it grows with, unless the labels would overlap."""
    low, high = axis.get_ylim()
    apart = (high / low) ** _LEAST_GAP
    written = math.inf
    for cost, size, slope in sorted(ends, reverse=True):
        if cost * apart > written:
            continue
        written = cost
        axis.annotate(
            f"${letter}^{{{slope:.1f}}}$",
            (size, cost),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=MUTED,
            va="center",
        )


def _lines(cost: _Cost, size: str, points: Sequence[Point]) -> Mapping[tuple[str, str], Mapping[int, float]]:
    """Return cost by size for each suite and network, where all other sizes that vary are at their least."""
    others = [name for name in _SIZES if name != size]
    least = {name: min(getattr(point.sizes, name) for point in points) for name in others}
    lines: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for point in points:
        if all(getattr(point.sizes, name) == value for name, value in least.items()):
            network = point.network if cost.travels else points[0].network
            lines[point.suite, network][getattr(point.sizes, size)] = cost.of(point)
    return lines


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten within a range, or the powers alone where it is wide."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1, 2, 5) if len(powers) < 4 else (1,)
    return [part * 10.0**power for power in powers for part in parts if low <= part * 10.0**power <= high]


def _slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the power of the size that the cost grows with, between the two largest sizes."""
    if len(sizes) < 2:
        return 0.0
    # Adding zero turns a negative zero into one.
    return round(float(np.log(costs[-1] / costs[-2]) / np.log(sizes[-1] / sizes[-2])), 1) + 0.0
