"""What the section, the pictures and the summary of the experiment take from its tables."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import MUTED
from securealign.lab.experiments.figures import lines, new_figure, pair_heat_maps
from securealign.lab.experiments.run import Result, Row

PAIR = ("source", "target")
#: What was found of texts, and at how many ranks it counts.
_FOUND = {"top1": 1, "top10": 10}


def alignment_means(result: Result) -> pl.DataFrame:
    """Return for every client's encoder (of `dimension`) and size (`rows`) the means over providers and seeds."""
    dimensions = result.settings["encoders"]
    means = (
        result.frame("alignment")
        .group_by("source", "rows", maintain_order=True)
        .agg(pl.exclude("target", "seed").mean())
    )
    return means.with_columns(dimension=pl.col("source").replace_strict(dimensions, return_dtype=pl.Int64))


def penalty_means(result: Result) -> pl.DataFrame:
    """Return for every penalty the means over pairs."""
    return result.frame("penalty").group_by("share").agg(pl.col("leaked", "used", "held_out").mean()).sort("share")


def found_by_pair(result: Result) -> pl.DataFrame:
    """Return what mapped embeddings tell, by pair: the mean over tasks."""
    columns = pl.col(*_FOUND, "overlap").mean()
    return result.frame("mapped").group_by(PAIR, maintain_order=True).agg(columns)


def pairs_at_largest(result: Result) -> pl.DataFrame:
    """Return the means of a pair for the largest number of rows, with what mapped embeddings tell."""
    largest = result.frame("alignment").filter(rows=result.settings["sizes"][-1])
    means = largest.group_by(PAIR).agg(pl.exclude("seed", "rows").mean())
    return found_by_pair(result).join(means, on=PAIR, maintain_order="left")


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    means, found = alignment_means(result), found_by_pair(result).sort("top1", maintain_order=True)
    all_known = pl.col("rows") <= pl.col("dimension") + 1
    rest = means.filter(~all_known).sort("leaked", maintain_order=True)
    penalties = penalty_means(result).to_dicts()
    mapped, native = result.frame("mapped"), result.frame("native")
    words, own = fmean(mapped["overlap"]), fmean(native["overlap"])
    guessed = fmean(native["overlap_guessed"])
    return {
        "size": result.settings["sizes"][-1],
        "means": means,
        "full": means.filter(all_known),
        "low": _first(rest),
        "high": _first(rest.reverse()),
        "apart": (means["leaked_shuffled"] - means["expected_shuffled"]).abs().max(),
        "worst": means.sort("held_out_least_squares", maintain_order=True).row(0, named=True),
        "penalties": penalties,
        "tasks": _tasks(mapped, native),
        "least": _first(found),
        "most": _first(found.reverse()),
        "words": {"mapped": words, "own": own, "guessed": guessed},
        "kept": (words - guessed) / (own - guessed) if own > guessed else None,
        "pairs": pairs_at_largest(result),
    }


def _tasks(mapped: pl.DataFrame, native: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each task: lists over pairs of what mapped embeddings tell, what native ones do, and chance."""
    known = (
        native.group_by("data", maintain_order=True)
        .agg(
            pl.col("candidates").first(),
            pl.col(*_FOUND, "overlap", "overlap_guessed").mean().name.prefix("native_"),
        )
        .with_columns((100 * count / pl.col("candidates")).alias(f"chance_{name}") for name, count in _FOUND.items())
    )
    return known.join(mapped.group_by("data").agg(*_FOUND, "overlap"), on="data", maintain_order="left")


def _first(rows: pl.DataFrame) -> Row | None:
    return rows.row(0, named=True) if len(rows) else None


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: every pair at the largest size."""
    columns = {
        "client": "source", "provider": "target", "N / d_B": "ratio", "leaked": "leaked",
        "by chance": "expected_shuffled", "held out": "held_out", "found first": "top1", "words": "overlap",
    }  # fmt: skip
    title = f"What {result.settings['sizes'][-1]:,} public rows and mapped texts give away"
    return title, pairs_at_largest(result).select(**columns)


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: leaked shares by N / d_B, and texts found by pair of encoders."""
    return {"alignment": _alignment(result), "inversion": _inversion(result)}


def _alignment(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    figure, axes = new_figure(1, 2, width=12.0, height=4.6)
    means = alignment_means(result)
    panels = (
        (axes[0], "leaked", "Provider's public embeddings that the client learns", "leaked share of the variance"),
        (axes[1], "held_out", "What the map explains of other public texts", "R² on held-out texts"),
    )
    for axis, column, title, label in panels:
        by_source = means.group_by("source", maintain_order=True)
        series = {str(name): rows.select("ratio", column).rows() for (name,), rows in by_source}
        lines(axis, series, title=title, x_label="N / d_B", y_label=label, logarithmic=True, legend=None)
        axis.set_ylim(min(0.0, means.select(pl.col(column).min()).item()), 1.03)
    by_chance = means.sort("ratio", "expected_shuffled")
    style: dict[str, Any] = {"color": MUTED, "linestyle": "--", "linewidth": 1.4, "label": "nothing in common"}
    axes[0].plot(by_chance["ratio"], by_chance["expected_shuffled"], **style)
    axes[0].legend(frameon=False, fontsize=8.5, loc="upper right")
    return figure


def _inversion(result: Result) -> Any:  # noqa: ANN401
    native = result.frame("native").group_by("target").agg(pl.col("top1", "overlap").mean())
    found = pl.concat([found_by_pair(result), native.with_columns(source="target")], how="diagonal")
    panels = {"True text is the nearest candidate": "top1", "Words of the nearest public text, F1": "overlap"}
    cells = {title: found.select(*PAIR, column).rows() for title, column in panels.items()}
    return pair_heat_maps(list(result.settings["encoders"]), cells, limits=None)
