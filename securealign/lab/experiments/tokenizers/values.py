"""What the section and the summary of the experiment take from its tables."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.lab.experiments.figures import pair_heat_maps
from securealign.lab.experiments.run import Result
from securealign.lab.measures.tokenizers import EXACT_FAILS, EXACT_NEEDED, EXACT_SUFFICES


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    tokenizers = [
        {**row, "weights": "" if row["weights"] is None else f"{row['weights'] / 1e6:,.0f} M"}
        for row in result.table("tokenizers")
    ]
    return {
        "thresholds": {"needed": EXACT_NEEDED, "suffices": EXACT_SUFFICES, "fails": EXACT_FAILS},
        "tokenizers": tokenizers,
        "pairs": result.table("pairs"),
        "outlooks": dict(Counter(row["outlook"] for row in result.table("pairs"))),
    }


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal."""
    return "Likeness of tokenizers", result.frame("pairs").drop("positions")


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: heat maps of exact matches and Jaccard index, sources by targets."""
    pairs = result.frame("pairs")
    panels = {"Exact token matches": "exact", "Jaccard index of vocabularies": "jaccard"}
    cells = {title: pairs.select("source", "target", column).rows() for title, column in panels.items()}
    names = result.settings["tokenizers"]
    return {"pairs": pair_heat_maps(names, cells, margin=2.2, row_label="source", column_label="target")}
