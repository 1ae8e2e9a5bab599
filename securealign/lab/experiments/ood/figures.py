"""Pictures of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from securealign.lab.experiments.figures import heat_map, new_figure
from securealign.lab.experiments.ood.tally import MAPS, cases, layout, length_alone, mean_auroc
from securealign.lab.experiments.result import Result

_LENGTH = "length alone"


def figures(result: Result) -> Mapping[str, Any]:
    """Return the picture by name: AUROC by task and data set, and by pair of encoders under the public map."""
    lines, length, encoders = layout(result), length_alone(result), list(result.settings["encoders"])
    labels = {case: f"{case[0]} / {case[1]}" for case in cases(result)}
    cells: dict[tuple[str, str], float] = {}
    for case, label in labels.items():
        cells[label, _LENGTH] = length[case]
        for name, title in MAPS.items():
            cells[label, title] = mean_auroc([line for line in lines if (line.data, line.ood) == case], name)
    height = 2.2 + 0.32 * max(len(labels), len(encoders))
    figure, axes = new_figure(1, 2, width=12.0, height=height)
    heat_map(
        axes[0], cells, list(labels.values()), [_LENGTH, *MAPS.values()], title="AUROC of the energy, mean over pairs",
        row_label="task / out of distribution", column_label="", limits=(0.5, 1.0),
    )  # fmt: skip
    pairs = {(line.source, line.target) for line in lines}
    mapped = {
        pair: fmean(line.auroc["public"] - line.auroc["own"] for line in lines if (line.source, line.target) == pair)
        for pair in pairs
    }
    heat_map(
        axes[1], mapped, encoders, encoders, title="What the public map changes, mean over tasks",
        row_label="client's encoder", column_label="provider's encoder", limits=(-0.3, 0.0),
    )  # fmt: skip
    return {"auroc": figure}
