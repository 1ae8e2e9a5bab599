"""What the section, the pictures and the summary of the experiment take from its tables."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import lines, new_figure
from securealign.lab.experiments.membership.measure import Sweep
from securealign.lab.experiments.membership.observe import ATTACKS, CHANCE, FALSE_ALARMS
from securealign.lab.experiments.run import Result, frame

#: For each sweep, the column that it varies, and what that is in words.
LABELS: Mapping[Sweep, tuple[str, str]] = {
    "rows": ("rows", "public rows N"),
    "shots": ("shots", "shots"),
    "penalty": ("penalty", "ridge penalty, as a share"),
    "epsilon by text": ("epsilon", "epsilon, text added"),
    "epsilon by row": ("epsilon", "epsilon, row of Z_A added"),
}
#: Accuracy and its spread of the attack in the paper, appendix K, on maps with so many shots.
PAPER = (0.530, 0.113)
PAPER_SHOTS = 128
#: A task and a pair of encoders.
CASE = ("data", "source", "target")
_CONTROLS = {"interpolating": "must succeed on residuals", "shuffled": "cannot succeed"}
_MEASURED = ("accuracy", "AUROC", "TPR", "plain AUROC")


def points(result: Result) -> pl.DataFrame:
    """Return the table of sweeps with what is `varied` and its `value` as texts; no epsilon is no noise.

    A column such as `accuracy_interval` holds a value and the ends of its interval.
    """
    rows = [
        {**row, "varied": text, "value": "none" if row[quantity] is None else f"{row[quantity]:,.6g}"}
        for row in result.table("sweeps")
        for quantity, text in [LABELS[row["sweep"]]]
    ]
    return frame(rows).with_columns(
        pl.concat_list(name, f"{name} low", f"{name} high").alias(f"{name}_interval") for name in _MEASURED
    )


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    sweeps = points(result)
    base = sweeps.filter(pl.col("epsilon").is_null(), sweep="epsilon by text")
    epsilon = pl.col("sweep").str.starts_with("epsilon")
    added = pl.when(unit="text").then(pl.lit("text")).otherwise(pl.lit("row of Z_A"))
    controls = result.frame("controls").with_columns(
        meaning=pl.col("control").replace(_CONTROLS),
        accuracy_interval=pl.concat_list("accuracy", "accuracy low", "accuracy high"),
    )
    shuffled = controls.filter(control="shuffled")
    return {
        "attacks": ATTACKS,
        "base": base,
        "paper": {"accuracy": PAPER[0], "spread": PAPER[1], "shots": PAPER_SHOTS},
        "by_attack": [_told(base.filter(attack=attack), attack=attack) for attack in ATTACKS],
        "shrunk": base.filter(attack="residual")["residual ratio"].to_list(),
        "varied": _attacks_beside(sweeps.filter(~epsilon), "varied", "value"),
        "epsilons": _attacks_beside(sweeps.filter(epsilon).with_columns(added=added), "added", "value"),
        "noise": [
            _told(noisy, sweep=sweep)
            for sweep in ("epsilon by text", "epsilon by row")
            if len(noisy := sweeps.filter(pl.col("epsilon").is_not_null(), sweep=sweep))
        ],
        "controls": _attacks_beside(controls, "control", "meaning"),
        "within": shuffled.filter(pl.lit(CHANCE).is_between("accuracy low", "accuracy high")),
        "shuffled": shuffled,
        "intervals": len(sweeps) + len(controls),
    }


def _attacks_beside(rows: pl.DataFrame, *others: str) -> pl.DataFrame:
    """Return a row for each setting, with the accuracy of each attack and its interval in a column of its name."""
    setting = [*CASE, "rows", "shots", "R2", "residual ratio", "bound", *others]
    return rows.pivot("attack", index=setting, values="accuracy_interval", aggregate_function="first")


def _told(rows: pl.DataFrame, **names: str) -> dict[str, Any]:
    """Return what some rows say of accuracy, of its bound, and of maps that are of use under noise."""
    bounded = rows.filter(pl.col("bound").is_not_null())
    useful = rows.filter(pl.col("R2") > 0)["epsilon"].unique().drop_nulls().sort()
    return {
        **names,
        "rows": len(rows),
        "accuracy": rows["accuracy"].to_list(),
        "above": (rows["accuracy low"] > CHANCE).sum(),
        "bounded": len(bounded),
        "beyond": (bounded["accuracy low"] > bounded["bound"]).sum(),
        "useful": [f"{epsilon:,.6g}" for epsilon in useful],
    }


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: accuracy of each attack in each setting."""
    setting = pl.format("{} = {}", "varied", "value").alias("setting")
    pair = pl.format("{} <- {}", "target", "source").alias("target <- source")
    control = pl.format("control: {}", "control").alias("setting")
    title = f"Accuracy of membership inference; the paper's is {PAPER[0]:.3f} with features"
    rows = pl.concat([
        table.select(pair, name, "R2", "attack", "accuracy")
        for table, name in ((points(result), setting), (result.frame("controls"), control))
    ])  # fmt: skip
    return title, rows.pivot(
        "attack", index=["target <- source", "setting", "R2"], values="accuracy", aggregate_function="first"
    )


_WIDTH, _HEIGHT = 3.3, 2.9


def figures(result: Result) -> Mapping[str, Any]:
    """Return pictures by name: accuracy, and right alarms at 1 % of false ones, each with intervals and chance."""
    return {
        "accuracy": _grid(result, "accuracy", "accuracy", CHANCE),
        "alarms": _grid(result, "TPR", f"right alarms at {FALSE_ALARMS:.0%} of false ones", FALSE_ALARMS),
    }


def _grid(result: Result, column: str, label: str, chance: float) -> Any:  # noqa: ANN401 - matplotlib has no types here
    found = points(result).partition_by(CASE, maintain_order=True)
    figure, axes = new_figure(len(found), len(LABELS), width=_WIDTH * len(LABELS), height=_HEIGHT * len(found))
    panels = iter(axes)
    for case in found:
        for sweep, (_, text) in LABELS.items():
            axis, rows = next(panels), case.filter(sweep=sweep)
            series = {
                str(attack): part[f"{column}_interval"]
                for (attack,), part in rows.group_by("attack", maintain_order=True)
            }
            lines(
                axis,
                {name: [(place, value) for place, (value, _, _) in enumerate(part)] for name, part in series.items()},
                title=f"{case['target'][0]} <- {case['source'][0]}",
                x_label=text,
                y_label=label,
                spread={name: [(low, high) for _, low, high in part] for name, part in series.items()},
                legend="center right",
            )
            axis.axhline(chance, color=MUTED, linewidth=0.9, linestyle=":")
            ticks = rows["value"].unique(maintain_order=True)
            axis.set_xticks(range(len(ticks)), ticks)
            axis.set_ylim(-0.03 if chance < CHANCE else 0.4, 1.03)
    return figure
