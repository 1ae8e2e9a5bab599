"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securealign.lab.experiments.figures import pair_heat_maps
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.similarity.values import means


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: heat maps of CKA and SVCCA on the public texts, encoders on both axes."""
    encoders, components, found = list(result.settings["encoders"]), result.settings["components"], means(result)
    few, many = components[0], components[-1]
    panels = {
        "CKA (upper right) and without its bias (lower left)": ("cka", "cka_debiased"),
        f"SVCCA, {few} (upper right) and {many} components (lower left)": (f"svcca_{few}", f"svcca_{many}"),
    }
    cells = {
        title: found.select("encoder", "other", above).rows() + found.select("other", "encoder", below).rows()
        for title, (above, below) in panels.items()
    }
    return {"public": pair_heat_maps(encoders, cells, row_label="", column_label="")}
