"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.lab.experiments.figures import heat_map, new_figure
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.similarity.values import PAIR, means


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: heat maps of CKA and SVCCA on the public texts, encoders on both axes."""
    encoders, components = list(result.settings["encoders"]), result.settings["components"]
    size = 2.0 + 0.62 * len(encoders)
    figure, axes = new_figure(1, 2, width=2 * size, height=size)
    few, many = components[0], components[-1]
    panels = (
        ("CKA (upper right) and without its bias (lower left)", "cka", "cka_debiased"),
        (f"SVCCA, {few} (upper right) and {many} components (lower left)", f"svcca_{few}", f"svcca_{many}"),
    )
    for axis, (title, above, below) in zip(axes, panels, strict=True):
        cells: dict[tuple[str, str], float] = {}
        for row in means(result).to_dicts():
            one, other = (row[name] for name in PAIR)
            cells |= {(one, other): row[above], (other, one): row[below]}
        heat_map(axis, cells, encoders, encoders, title=title, row_label="", column_label="")
    return {"public": figure}
