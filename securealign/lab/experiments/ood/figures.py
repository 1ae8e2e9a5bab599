"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.lab.experiments.figures import heat_map, new_figure
from securealign.lab.experiments.ood.values import CASE, MAPS, PAIR, layout
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: AUROC by task and data set, and by pair of encoders under the public map."""
    lines, encoders = layout(result), list(result.settings["encoders"])
    columns = {"length": "length alone", **{f"auroc_{name}": title for name, title in MAPS.items()}}
    means = lines.group_by(pl.format("{} / {}", *CASE).alias("case"), maintain_order=True).agg(pl.col(*columns).mean())
    height = 2.2 + 0.32 * max(len(means), len(encoders))
    figure, axes = new_figure(1, 2, width=12.0, height=height)
    heat_map(
        axes[0],
        [(row["case"], title, row[name]) for row in means.to_dicts() for name, title in columns.items()],
        means["case"].to_list(),
        list(columns.values()),
        title="AUROC of the energy, mean over pairs",
        row_label="task / out of distribution",
        column_label="",
        limits=(0.5, 1.0),
    )
    changed = lines.group_by(PAIR).agg((pl.col("auroc_public") - pl.col("auroc_own")).mean())
    heat_map(
        axes[1],
        changed.rows(),
        encoders,
        encoders,
        title="What the public map changes, mean over tasks",
        row_label="client's encoder",
        column_label="provider's encoder",
        limits=(-0.3, 0.0),
    )
    return {"auroc": figure}
