"""The part of the section on differential privacy: what it hides, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator

from securealign.lab.experiments.markdown import table
from securealign.lab.experiments.membership.interval import CHANCE
from securealign.lab.experiments.membership.observe import ATTACKS
from securealign.lab.experiments.membership.tally import LABELS, above, cases, ends, interval, named, points, shown
from securealign.lab.experiments.result import Result


def noise(result: Result) -> str:
    """Return tables and what they say, for texts and for rows of the provider."""
    header = ["data, target <- source", "what is added", "epsilon", "R^2", *ATTACKS, "bound"]
    lines = []
    for case in cases(result):
        for sweep, (quantity, _) in LABELS.items():
            if quantity != "epsilon":
                continue
            for rows in zip(*(points(result, case, sweep, attack) for attack in ATTACKS), strict=True):
                first = rows[0]
                added = "text" if first["unit"] == "text" else "row of Z_A"
                bound = "" if first["bound"] is None else f"{first['bound']:.3f}"
                values = [interval(row, "accuracy") for row in rows]
                lines.append([named(case), added, shown(first["epsilon"]), f"{first['R2']:.2f}", *values, bound])
    return "\n\n".join(
        [
            f"Accuracy under the protocol's differential privacy, delta = {result.settings['delta']:g}, with "
            f"{result.settings['private_maps']} shadow maps, except for texts without noise, whose maps are those "
            "above. What it protects is a row of Z_A, present or zero, while the client's row stays: for that, no "
            "observer is right more often than the bound. Adding a text adds a row of Z_B too, which the client's Gram "
            "matrix holds without noise:",
            table(header, lines, left=2),
            "\n".join(f"- {line}" for line in _noise_sentences(result)),
        ]
    )


def _noise_sentences(result: Result) -> Iterator[str]:
    found = {
        sweep: [row for case in cases(result) for attack in ATTACKS for row in points(result, case, sweep, attack)]
        for sweep, (quantity, _) in LABELS.items()
        if quantity == "epsilon"
    }
    noise_by_sweep = {sweep: [row for row in rows if row["epsilon"] is not None] for sweep, rows in found.items()}
    for sweep, noisy in noise_by_sweep.items():
        if not noisy:
            continue
        low, high = ends(noisy)
        what = "a text was added" if sweep == "epsilon by text" else "a row of Z_A was there"
        yield (
            f"Whether {what}: with noise, accuracies lie between {low:.3f} and {high:.3f}, and the intervals of "
            f"{above(noisy, CHANCE)} of {len(noisy)} above chance."
        )
        bounded = [row for row in noisy if row["bound"] is not None]
        if bounded:
            beyond = sum(row["accuracy low"] > row["bound"] for row in bounded)
            yield f"{beyond} of {len(bounded)} intervals lie above their bound."
        useful = sorted({row["epsilon"] for row in noisy if row["R2"] > 0})
        at = ", ".join(map(shown, useful))
        yield (
            f"Maps under noise have an R^2 above zero at epsilon = {at}."
            if useful
            else "No map under noise has an R^2 above zero: it maps texts no better than their mean would."
        )
