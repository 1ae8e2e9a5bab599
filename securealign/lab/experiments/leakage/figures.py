"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import lines, new_figure, pair_heat_maps
from securealign.lab.experiments.leakage.values import PAIR, alignment_means, found_by_pair
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: leaked shares by N / d_B, and texts found by pair of encoders."""
    return {"alignment": _alignment(result), "inversion": _inversion(result)}


def _alignment(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    figure, axes = new_figure(1, 2, width=12.0, height=4.6)
    means = alignment_means(result)
    panels = (
        (axes[0], "leaked", "Provider's public embeddings that the client learns", "leaked share of the variance"),
        (axes[1], "held_out", "What the map explains of other public texts", "R² on held-out texts"),
    )
    for axis, column, title, label in panels:
        by_source = means.group_by("source", maintain_order=True)
        series = {str(name): rows.select("ratio", column).rows() for (name,), rows in by_source}
        lines(axis, series, title=title, x_label="N / d_B", y_label=label, logarithmic=True, legend=None)
        axis.set_ylim(min(0.0, means.select(pl.col(column).min()).item()), 1.03)
    by_chance = means.sort("ratio", "expected_shuffled")
    style: dict[str, Any] = {"color": MUTED, "linestyle": "--", "linewidth": 1.4, "label": "nothing in common"}
    axes[0].plot(by_chance["ratio"], by_chance["expected_shuffled"], **style)
    axes[0].legend(frameon=False, fontsize=8.5, loc="upper right")
    return figure


def _inversion(result: Result) -> Any:  # noqa: ANN401
    native = result.frame("native").group_by("target").agg(pl.col("top1", "overlap").mean())
    found = pl.concat([found_by_pair(result), native.with_columns(source="target")], how="diagonal")
    panels = {"True text is the nearest candidate": "top1", "Words of the nearest public text, F1": "overlap"}
    cells = {title: found.select(*PAIR, column).rows() for title, column in panels.items()}
    return pair_heat_maps(list(result.settings["encoders"]), cells, limits=None)
