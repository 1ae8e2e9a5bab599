"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.lab.experiments.figures import heat_map, new_figure
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: heat maps of exact matches and Jaccard index, sources by targets."""
    names = list(result.settings["tokenizers"])
    size = 2.2 + 0.62 * len(names)
    figure, axes = new_figure(1, 2, width=2 * size, height=size)
    for axis, (title, column) in zip(
        axes, (("Exact token matches", "exact"), ("Jaccard index of vocabularies", "jaccard")), strict=True
    ):
        cells = {(row["source"], row["target"]): row[column] for row in result.table("pairs")}
        heat_map(axis, cells, names, names, title=title, row_label="source", column_label="target")
    return {"pairs": figure}
