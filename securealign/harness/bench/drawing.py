"""Comparisons as a picture: grouped bars on a logarithmic scale, one group for each suite."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError
from securealign.harness.bench.measurements import Spread
from securealign.harness.bench.rows import CLEAR, Row
from securealign.harness.report.units import brief
from securealign.optional import require

#: Colours of Okabe and Ito, which all kinds of colour vision tell apart, in an order that differs in lightness too.
COLOURS = ("#0072B2", "#E69F00", "#56B4E9", "#D55E00")
INK, MUTED, GRID = "#222222", "#666666", "#e4e4e4"
_UNITS = {"s": "seconds", "ms": "milliseconds"}
_FORMATS = (".svg", ".png", ".pdf")
#: Inches.
_WIDTH, _BAR_HEIGHT, _GROUP_GAP, _FRAME_HEIGHT = 11.0, 0.2, 0.2, 1.75


@dataclass(frozen=True)
class Panel:
    """One chart: its title, and for each name in its legend the figures that are added up."""

    title: str
    series: Mapping[str, tuple[str, ...]]


_SIDES = ("client", "provider")
PANELS: Mapping[str, tuple[Panel, Panel]] = {
    "training": (
        Panel("Compute by side", {"client": ("client compute",), "provider": ("provider compute",)}),
        Panel(
            "Bytes by phase",
            {name: (f"{name} to provider", f"{name} to client") for name in ("keys", "upload", "result")},
        ),
    ),
    "inference": (
        Panel(
            "Compute for each query by side",
            {f"{side}, {when}": (f"{side} {when}",) for when in ("online", "offline") for side in _SIDES},
        ),
        Panel(
            "Bytes for each query by phase",
            {
                name: (f"{phase} to provider", f"{phase} to client")
                for name, phase in {"keys, once": "keys", "offline": "offline", "online": "online"}.items()
            },
        ),
    ),
}


def require_drawable(file: Path) -> None:
    """Raise `ConfigurationError` for a format that is not drawn, `DependencyError` when matplotlib is missing."""
    if file.suffix.lower() not in _FORMATS:
        raise ConfigurationError(
            f"{file} is not a kind of picture that can be drawn.", hint=f"End its name in one of: {' '.join(_FORMATS)}."
        )
    load_figures()


def draw(rows: Sequence[Row], title: str, file: Path) -> bytes:
    """Return the picture of the figures of training or of inference, in the format that the file's name asks for."""
    suites = sorted(dict.fromkeys(row.suite for row in rows), key=lambda suite: suite != CLEAR)
    panels = PANELS[rows[0].phase]
    most = max(len(panel.series) for panel in panels)
    height = _FRAME_HEIGHT + (most * _BAR_HEIGHT + _GROUP_GAP) * len(suites)
    figure = load_figures().Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    figure.get_layout_engine().set(wspace=0.06)  # the last number below a panel must not meet the first of the next
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, panel, rows, suites, 0.8 / most)
    axes[0].set_yticks(range(len(suites)), suites, fontsize=10)
    axes[0].set_ylim(len(suites) - 0.5, -0.5)
    return picture(figure, file)


def picture(figure: Any, file: Path) -> bytes:  # noqa: ANN401 - matplotlib has no types here
    """Return a figure in the format that a file's name asks for."""
    import matplotlib as mpl

    made, kind = io.BytesIO(), file.suffix.lower().lstrip(".")
    options: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 160}
    # Neither a date nor random names, so that the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "securealign", "svg.fonttype": "path"}):
        figure.savefig(made, format=kind, facecolor="white", **options)
    return made.getvalue()


def label(axis: Any, title: str, x_label: str, y_label: str = "", **options: Any) -> None:  # noqa: ANN401
    """Write the title of a chart, with `options` of it, and what its axes show."""
    axis.set_title(title, fontsize=10.5, color=INK, loc="left", **options)
    axis.set_xlabel(x_label, fontsize=9, color=MUTED)
    axis.set_ylabel(y_label, fontsize=9, color=MUTED)


def grid(axis: Any, which: str = "both") -> None:  # noqa: ANN401
    """Draw lines at the ticks of one axis or both, behind what the chart shows."""
    axis.grid(axis=which, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


def load_figures() -> Any:  # noqa: ANN401 - matplotlib has no types here
    """Return the module of figures, which draw without a display and without global state."""
    return require("matplotlib.figure", "Drawing figures", extra="figures")


def _panel(axis: Any, panel: Panel, rows: Sequence[Row], suites: Sequence[str], thickness: float) -> None:  # noqa: ANN401
    bars = [_values(rows, figures) for figures in panel.series.values()]
    axis.set_xscale("log")
    # The ends show the least bar as a bar, and leave room for the number of the longest.
    ends = [end for values in bars for value in values.values() for end in (value.minimum, value.maximum) if end > 0]
    low, high = min(ends, default=1.0) / 3, max(ends, default=1.0)
    axis.set_xlim(low, high * (high / low) ** 0.2)
    for index, (name, values) in enumerate(zip(panel.series, bars, strict=True)):
        for suite, value in values.items():
            middle = suites.index(suite) + thickness * (index + 0.5 - len(bars) / 2)
            _bar(axis, middle, thickness, value, COLOURS[index])
        axis.barh([0], [0], color=COLOURS[index], label=name)  # for the legend
    unit = next(row.unit for row in rows if row.figure in next(iter(panel.series.values())))
    label(axis, panel.title, f"{_UNITS.get(unit, unit)}, logarithmic scale", pad=26)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, frameon=False, fontsize=9, borderaxespad=0.2,
                handlelength=1.0, handletextpad=0.5, columnspacing=1.2, borderpad=0.2)  # fmt: skip
    grid(axis, which="x")
    axis.tick_params(axis="both", which="both", length=0, labelcolor=INK)
    axis.tick_params(axis="x", labelsize=8.5)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(MUTED)


def _bar(axis: Any, middle: float, thickness: float, value: Spread, colour: str) -> None:  # noqa: ANN401
    """Draw a median with its extremes and its number; 0 has no bar on a logarithmic scale, only its number."""
    left = axis.get_xlim()[0]
    if value.median > 0:
        axis.barh(middle, value.median - left, left=left, height=thickness * 0.9, color=colour)
    if value.minimum < value.maximum and value.minimum > 0:
        axis.plot([value.minimum, value.maximum], [middle, middle], color=INK, linewidth=1, solid_capstyle="butt")
    axis.annotate(
        brief(value.median),
        (max(value.maximum, left), middle),
        xytext=(3, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=7.5,
        color=INK if value.median else MUTED,
    )


def _values(rows: Sequence[Row], figures: Sequence[str]) -> dict[str, Spread]:
    """Return the sum of some figures by suite."""
    suites = dict.fromkeys(row.suite for row in rows if row.figure in figures)
    return {
        suite: sum((row.value for row in rows if row.suite == suite and row.figure in figures), Spread(0, 0, 0))
        for suite in suites
    }
