"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.lab.experiments.figures import pair_heat_maps
from securealign.lab.experiments.result import Result


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: heat maps of exact matches and Jaccard index, sources by targets."""
    pairs = result.frame("pairs")
    panels = {"Exact token matches": "exact", "Jaccard index of vocabularies": "jaccard"}
    cells = {title: pairs.select("source", "target", column).rows() for title, column in panels.items()}
    names = result.settings["tokenizers"]
    return {"pairs": pair_heat_maps(names, cells, margin=2.2, row_label="source", column_label="target")}
