"""What the section, the pictures and the summary of the experiment take from its tables."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import COLOURS
from securealign.lab.experiments.figures import lines, new_figure
from securealign.lab.experiments.generation.prediction import EXACT, FITTED, PAIRED, SHUFFLED
from securealign.lab.experiments.run import Result, Row
from securealign.lab.generation.causal import POST_NORM

#: Relative increase of perplexity for pairs of 7 to 8 billion weights (paper, section 3.2).
PAPER_PERPLEXITY = 0.26
#: Texts of each pair that are shown.
SHOWN = 5
PAIR = ("source", "target")


def named(row: Row) -> Row:
    """Return a row with the `name` of its pair, or of its model if there is no target."""
    return {**row, "name": f"{row['source']} → {row['target']}" if row["target"] else f"{row['source']} by itself"}


def usual(result: Result, *, positions: str = PAIRED, kind: str = FITTED) -> pl.DataFrame:
    """Return the scores of each pair's map between the states that heads read, with the penalty of the run."""
    return scores(result).filter(
        penalty=str(result.settings["ridge"]), depth=POST_NORM, landing=POST_NORM, positions=positions, map=kind
    )


def scores(result: Result) -> pl.DataFrame:
    """Return the table of scores with the `name` of each pair."""
    return result.frame("scores").with_columns(name=pl.format("{} → {}", *PAIR))


def sweep(result: Result, *, like: bool) -> pl.DataFrame:
    """Return the scores by depth: onto the state that the head reads or, with `like`, onto the same depth."""
    every = scores(result).filter(positions=PAIRED, map=FITTED, penalty=str(result.settings["ridge"]))
    return every.filter(pl.col("landing") == (pl.col("depth") if like else pl.lit(POST_NORM)))


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    found, like = usual(result), sweep(result, like=True).select(*PAIR, "depth", "nll_mapped", "agreement")
    questions, texts = [named(row) for row in result.table("questions")], result.table("texts")
    shuffled = usual(result, kind=SHUFFLED)
    worse = 100 * (pl.col("perplexity_mapped") / pl.col("perplexity_native") - 1)
    return {
        "models": [{**row, "millions": row["parameters"] / 1e6} for row in result.table("models")],
        "scores": _scores(result, found, shuffled),
        "paper_worse": 100 * PAPER_PERPLEXITY,
        "usual": found.with_columns(worse=worse),
        "shuffled": shuffled["agreement"].to_list(),
        "depths": sweep(result, like=False).join(
            like, on=[*PAIR, "depth"], how="left", maintain_order="left", suffix="_like"
        ),
        "likeness": [named(row) for row in result.table("likeness")],
        "questions": questions,
        "deviation": 100 * (0.25 * 0.75 / questions[0]["questions"]) ** 0.5 if questions else None,
        "streaming": [{**row, "mebibytes": row["peak_bytes"] / (1 << 20)} for row in result.table("streaming")],
        "shown": SHOWN,
        "texts": [
            {**named(row), "text": row["text"].strip()}
            for row in (
                result.frame("texts").group_by(PAIR, maintain_order=True).head(SHOWN).to_dicts() if texts else ()
            )
        ],
    }


def _scores(result: Result, found: pl.DataFrame, shuffled: pl.DataFrame) -> pl.DataFrame:
    """Return the scores of each pair's usual map, then of its variants, with a `variant` in words."""
    counts = found.select(*PAIR, pl.col("count").alias("all"))
    exact = usual(result, positions=EXACT).join(counts, on=PAIR).filter(pl.col("count") < pl.col("all")).drop("all")
    other = scores(result).filter(pl.col("penalty") != str(result.settings["ridge"]), positions=PAIRED, map=FITTED)
    variants = [
        found.with_columns(variant=pl.lit("")),
        exact.with_columns(variant=pl.lit(", same end")),
        other.with_columns(variant=pl.format(", penalty {}", "penalty")),
        shuffled.with_columns(variant=pl.lit(", map shuffled")),
    ]
    order = pl.Enum(found["name"].to_list())
    return pl.concat(variants).sort(pl.col("name").cast(order), maintain_order=True)


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: the usual map of each pair."""
    columns = {
        "pair": "name", "R2": "r2", "loss": "nll_native", "loss, mapped": "nll_mapped",
        "top-1": "top1_native", "top-1, mapped": "top1_mapped", "agreement": "agreement",
    }  # fmt: skip
    return "Next token through the target's head", usual(result).select(**columns)


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: first guesses by depth, and loss of each pair beside the native one."""
    return {"depths": _depths(result), "loss": _loss(result)}


def _depths(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    depths = list(result.settings["depths"])
    figure, axes = new_figure(1, 2, width=10.5, height=3.8)
    for axis, like, title in (
        (axes[0], False, "Onto the state that the target's head reads"),
        (axes[1], True, "Onto the target's state of the same depth"),
    ):
        series = {}
        for (name,), rows in sweep(result, like=like).group_by("name", maintain_order=True):
            known = [
                (depths.index(row["depth"]), row["agreement"]) for row in rows.to_dicts() if row["depth"] in depths
            ]
            if len(known) > 1:
                series[str(name)] = sorted(known)
        lines(
            axis,
            series,
            title=title,
            x_label="state of the source",
            y_label="agreement with the target",
            legend="upper right",
        )
        axis.set_xticks(range(len(depths)), depths)
        axis.set_ylim(0, 1.02)
    return figure


def _loss(result: Result) -> Any:  # noqa: ANN401 - matplotlib has no types here
    rows = usual(result).to_dicts()
    figure, (axis,) = new_figure(1, 1, width=7.0, height=0.9 + 0.55 * len(rows))
    for place, row in enumerate(rows):
        for shift, column, colour in ((-0.18, "nll_native", COLOURS[0]), (0.18, "nll_mapped", COLOURS[1])):
            axis.barh(place + shift, row[column], height=0.34, color=colour)
            axis.text(row[column], place + shift, f" {row[column]:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("loss of the next token in nats: the target's own state above, mapped below", fontsize=9)
    return figure
