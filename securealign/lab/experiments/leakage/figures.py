"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import heat_map, lines, new_figure
from securealign.lab.experiments.leakage.tally import alignment_means, found_by_pair
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: leaked shares by N / d_B, and texts found by pair of encoders."""
    return {"alignment": _alignment(result), "inversion": _inversion(result)}


def _alignment(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    figure, axes = new_figure(1, 2, width=12.0, height=4.6)
    means = alignment_means(result)
    sources = list(dict.fromkeys(row["source"] for row in means))
    panels = (
        (axes[0], "leaked", "Provider's public embeddings that the client learns", "leaked share of the variance"),
        (axes[1], "held_out", "What the map explains of other public texts", "R² on held-out texts"),
    )
    for axis, column, title, label in panels:
        series = {name: [(row["ratio"], row[column]) for row in means if row["source"] == name] for name in sources}
        lines(axis, series, title=title, x_label="N / d_B", y_label=label, logarithmic=True, legend=None)
        axis.set_ylim(min(0.0, *(row[column] for row in means)), 1.03)
    ratios, shares = zip(*sorted((row["ratio"], row["expected_shuffled"]) for row in means), strict=True)
    axes[0].plot(ratios, shares, color=MUTED, linestyle="--", linewidth=1.4, label="nothing in common")
    axes[0].legend(frameon=False, fontsize=8.5, loc="upper right")
    return figure


def _inversion(result: Result) -> Any:  # noqa: ANN401
    encoders = list(result.settings["encoders"])
    size = 2.0 + 0.62 * len(encoders)
    figure, axes = new_figure(1, 2, width=2 * size, height=size)
    for axis, column, title in (
        (axes[0], "top1", "True text is the nearest candidate"),
        (axes[1], "overlap", "Words of the nearest public text, F1"),
    ):
        cells = found_by_pair(result, column)
        for encoder in encoders:
            found = [row[column] for row in result.table("native") if row["target"] == encoder]
            cells[encoder, encoder] = fmean(found)
        most = max(*cells.values(), 0.01)
        heat_map(
            axis,
            cells,
            encoders,
            encoders,
            title=title,
            row_label="client's encoder",
            column_label="provider's encoder",
            limits=(0.0, most),
        )
    return figure
