"""What the section, the picture and the summary of the experiment take from its tables."""

from collections.abc import Mapping
from math import hypot
from typing import Any

import polars as pl

from securealign.lab.experiments.figures import heat_map, new_figure
from securealign.lab.experiments.ood.measure import auroc_error
from securealign.lab.experiments.run import Result

#: What a head is applied to, as titles of columns.
MAPS = {"own": "provider's own", "task": "task map", "public": "public map"}
CASE = ("data", "ood")
PAIR = ("source", "target")
#: A change of an AUROC counts from so many standard errors of the difference of two AUROCs on.
_SURE = 2.0


def layout(result: Result, score: str = "energy") -> pl.DataFrame:
    """Return a row for each case (task and data set out of distribution) and pair: the lines of the paper's Table 7.

    Its columns are AUROC, FPR@95 and accuracy by what the head is applied to, such as `auroc_own`; and those of the
    control, the length alone: `length`, with the numbers of texts `inside` and outside (`texts`).
    """
    columns = ["auroc", "fpr95", "accuracy"]
    own = result.frame("own").filter(score=score).drop("score").rename({name: f"{name}_own" for name in columns})
    mapped = result.frame("mapped").filter(score=score).pivot("fitted_on", index=[*CASE, *PAIR], values=columns)
    length = result.frame("length").rename({"auroc": "length"})
    return length.join(mapped, on=CASE, maintain_order="left_right").join(
        own, on=[*CASE, "target"], maintain_order="left"
    )


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    lines = layout(result)
    cases = lines.group_by(CASE, maintain_order=True).agg(pl.all()).with_columns(pl.col("length").list.first())
    return {
        "binary": [name for name, task in result.settings["tasks"].items() if task["classes"] == 2],
        "lines": lines,
        "cases": cases,
        "by_pair": lines.group_by(PAIR, maintain_order=True).agg(pl.all()),
        "sure": _SURE,
        "changes": [_change(lines, fitted_on) for fitted_on in ("task", "public")],
        "softmax": layout(result, "softmax"),
        "beaten": cases.filter(pl.col("length") >= pl.col("auroc_own").list.mean()),
    }


def _change(lines: pl.DataFrame, fitted_on: str) -> Mapping[str, Any]:
    """Return how a map changes the AUROC of the provider's own embeddings, as if both were of different texts."""
    changed = lines.with_columns(
        change=pl.col(f"auroc_{fitted_on}") - pl.col("auroc_own"), auroc_mapped=f"auroc_{fitted_on}"
    ).to_dicts()
    errors = [
        hypot(*(auroc_error(row[name], row["inside"], row["texts"]) for name in ("auroc_own", "auroc_mapped")))
        for row in changed
    ]
    found = [row["change"] for row in changed]
    return {
        "map": MAPS[fitted_on],
        "found": found,
        "own": [row["auroc_own"] for row in changed],
        "mapped": [row["auroc_mapped"] for row in changed],
        "worse": sum(change < -_SURE * error for change, error in zip(found, errors, strict=True)),
        "better": sum(change > _SURE * error for change, error in zip(found, errors, strict=True)),
        "error": max(errors),
        "least": changed[found.index(min(found))],
    }


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: means over pairs of encoders."""
    aurocs = {title: pl.col(f"auroc_{name}").mean() for name, title in MAPS.items()}
    rates = {f"FPR@95, {title}": pl.col(f"fpr95_{name}").mean() for name, title in MAPS.items()}
    length = pl.col("length").first().alias("length alone")
    found = layout(result).group_by(CASE, maintain_order=True).agg(length, **aurocs, **rates)
    return "AUROC of the energy, mean over pairs of encoders", found.rename({"ood": "out of distribution"})


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
