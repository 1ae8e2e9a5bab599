"""What the section, the pictures and the summary of the experiment take from its tables."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.harness.bench.drawing import MUTED, grid, label
from securealign.lab.experiments.figures import MARKS, PALETTE, lines, new_figure, pair_heat_maps
from securealign.lab.experiments.run import Result

#: Accuracy that the paper's maps lose at most (Table 1).
MAX_LOSS = 0.06
#: Kinds of map, as tables name them.
FITS = ("soft", "ridge", "ridge, not standardised", "reduced rank", "whitening", "Procrustes", "mean only")
FITTED_ON = {"task": "the task's texts", "public": "public texts"}
#: Encoders that add up vectors of words; all others read a text as a whole.
_STATIC = ("wordllama", "glove")
PAIR = ("source", "target")
_OWN = {"target": "provider_own", "source": "client_own"}
_TRANSFORMERS = ~pl.col("source").is_in(_STATIC) & ~pl.col("target").is_in(_STATIC)
_ON_TASK_OR_PUBLIC = pl.col("fitted_on").is_in(list(FITTED_ON))
_WORDS = pl.col("fitted_on").cast(pl.String).replace(FITTED_ON).alias("words")


def own_accuracies(result: Result) -> pl.DataFrame:
    """Return what a head fitted on all training texts reaches, by encoder and task (`data`)."""
    own = result.frame("own")
    return own.filter(pl.col("shots").is_null()).select("encoder", "data", "accuracy")


def losses(result: Result, *, fit: str | None = None) -> pl.DataFrame:
    """Return a row for each pair, task, kind of map (`fit` alone, if given) and kind of texts that it was fitted on.

    `accuracy` holds a value for each seed, `mapped` their mean, `provider_own` and `client_own` what own heads reach,
    `lost` what the map costs the provider's head, and `main` whether both encoders are transformers, or none is.
    """
    own = own_accuracies(result)
    provider, client = (own.rename({"encoder": side, "accuracy": name}) for side, name in _OWN.items())
    fitted_on = [*FITTED_ON, *(f"public+{shots}" for shots in result.settings["shots"])]
    found = (
        result.frame("mapped")
        .with_columns(pl.col("fitted_on").cast(pl.Enum(fitted_on)), pl.col("fit").cast(pl.Enum(FITS)))
        .group_by(*PAIR, "data", "fit", "fitted_on", maintain_order=True)
        .agg("accuracy", pl.col("accuracy").mean().alias("mapped"), pl.col("r2").mean())
        .join(provider, on=["target", "data"], maintain_order="left")
        .join(client, on=["source", "data"], maintain_order="left")
        .with_columns(lost=pl.col("provider_own") - pl.col("mapped"), main=_TRANSFORMERS | ~_TRANSFORMERS.any())
    )
    return found if fit is None else found.filter(fit=fit)


def reason(row: Mapping[str, Any]) -> str:
    """Return in words where most of a loss arises: in what the client's encoder knows, or in the map."""
    gaps = {
        "the client's encoder knows less of the task": row["provider_own"] - row["client_own"],
        "the map loses what the client's encoder knows": row["client_own"] - row["refitted"],
        "the map moves the classes": row["refitted"] - row["mapped"],
    }
    return max(gaps, key=lambda name: gaps[name])


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    every, tasks = losses(result), result.settings["tasks"]
    usual, rivals = every.filter(fit=result.settings["map"]), result.settings["rivals"]
    on_task = usual.filter(fitted_on="task")
    exceptions = result.table("exceptions")
    explained = [{**row, "reason": reason(row)} for row in exceptions if row["refitted"] is not None]
    shots = shot_accuracies(result)
    encrypted = [
        {**row, "words": FITTED_ON[row["fitted_on"]], "training_mb": row["training_bytes"] / 1e6,
         "query_kb": row["query_bytes"] / 1e3}
        for row in result.table("encrypted")
    ]  # fmt: skip
    return {
        "train": max(task["train"] for task in tasks.values()),
        "test": max(task["test"] for task in tasks.values()),
        "max_loss": MAX_LOSS,
        "whom": "two transformers" if every.select(_TRANSFORMERS.any()).item() else "two encoders",
        "kinds": _kinds(every),
        "on_task": on_task,
        "main": on_task.filter("main"),
        "exceptions": sorted(explained, key=lambda row: row["mapped"] - row["provider_own"]),
        "reasons": dict(Counter(row["reason"] for row in explained).most_common()),
        "others": len(exceptions) - len(explained),
        "single": shots.group_by("data", *PAIR, "column", maintain_order=True)
        .agg("accuracy")
        .sort(pl.col("data").cast(pl.Enum(list(tasks))), maintain_order=True),
        "overall": _overall(shots),
        "pairs": on_task.filter("main").select(PAIR).n_unique(),
        "crossings": _crossings(shots),
        "rivals": every.filter(pl.col("source").is_in(rivals), pl.col("target").is_in(rivals), _ON_TASK_OR_PUBLIC)
        .group_by("fit", "fitted_on")
        .agg("lost")
        .sort("fit", "fitted_on")
        .with_columns(_WORDS),
        "encrypted": encrypted,
        "largest": max((100 * abs(row["clear"] - row["encrypted"]) for row in encrypted), default=0.0),
    }


def _kinds(every: pl.DataFrame) -> pl.DataFrame:
    """Return the mean loss of ridge and soft maps by task, and over all tasks as the task "mean"."""
    by_task = (
        every.filter("main", _ON_TASK_OR_PUBLIC, pl.col("fit").is_in(["ridge", "soft"]))
        .group_by("fitted_on", "fit", "data", maintain_order=True)
        .agg(pl.col("lost").mean())
    )
    over_all = by_task.group_by("fitted_on", "fit").agg(pl.lit("mean").alias("data"), pl.col("lost").mean())
    return (
        pl.concat([over_all, by_task])
        .sort("fitted_on", "fit", descending=[False, True], maintain_order=True)
        .with_columns(_WORDS)
    )


def shot_accuracies(result: Result) -> pl.DataFrame:
    """Return the columns of the paper's Table 2 for main pairs: a row for each pair, task, `column` and seed.

    `full` is the provider's own head, "alone k" the client's from k texts, the others are mapped; `shots` is k, or 0.
    """
    usual = losses(result, fit=result.settings["map"]).filter("main", pl.col("fitted_on") != "task")
    cells = usual.filter(fitted_on="public").select("data", *PAIR, "provider_own")
    alone = result.frame("own").filter(pl.col("shots").is_not_null()).drop("seed").rename({"encoder": "source"})
    fitted_on = pl.col("fitted_on").cast(pl.String)
    shots = fitted_on.str.extract(r"(\d+)$").cast(pl.Int64).fill_null(0)
    parts = [
        cells.with_columns(column=pl.lit("full"), shots=pl.lit(0, pl.Int64), accuracy="provider_own"),
        cells.join(alone, on=["source", "data"], maintain_order="left").with_columns(
            column=pl.format("alone {}", "shots")
        ),
        usual.explode("accuracy").with_columns(column=fitted_on, shots=shots),
    ]
    return pl.concat(part.select("data", *PAIR, "column", "shots", "accuracy") for part in parts)


def _overall(shots: pl.DataFrame) -> pl.DataFrame:
    """Return lists of accuracies over pairs and seeds; the provider's own do not depend on the pair."""
    lists = shots.group_by("data", "column", maintain_order=True).agg("accuracy")
    mean = pl.concat_list(pl.col("accuracy").list.mean())
    return lists.with_columns(accuracy=pl.when(column="full").then(mean).otherwise("accuracy"))


def _crossings(shots: pl.DataFrame) -> pl.DataFrame:
    """Return for each task from how many texts on a client alone does better than through the public map, in words."""
    means = shots.group_by("data", "column", "shots", maintain_order=True).agg(pl.col("accuracy").mean())
    public = means.filter(column="public").select("data", public="accuracy")
    alone = means.filter(pl.col("column").str.starts_with("alone")).join(public, on="data", maintain_order="left")
    enough = pl.col("shots").filter(pl.col("accuracy") > pl.col("public")).min()
    found = alone.group_by("data", maintain_order=True).agg(few=enough, most=pl.col("shots").max())
    words = pl.format("{} labelled texts or fewer", "few"), pl.format("more than {} labelled texts", "most")
    return found.select("data", texts=pl.coalesce(words))


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: means over tasks."""
    usual = losses(result, fit=result.settings["map"]).rename({"source": "client", "target": "provider"})
    own = usual.group_by("client", "provider", maintain_order=True).agg(
        pl.col("client_own").mean().alias("client's own"), pl.col("provider_own").mean().alias("provider's own")
    )
    mapped = usual.with_columns(pl.col("fitted_on").cast(pl.String)).pivot(
        "fitted_on", index=["client", "provider"], values="mapped", aggregate_function="mean"
    )
    tasks = ", ".join(result.settings["tasks"])
    return f"Accuracy, mean over {tasks}", own.join(mapped, on=["client", "provider"], maintain_order="left")


#: Points; the end of the colours.
_MOST_LOST = 50.0


def figures(result: Result) -> Mapping[str, Any]:
    """Return the pictures by name: losses of all pairs, shots, and loss against what the map explains."""
    usual = losses(result, fit=result.settings["map"])
    return {"losses": _losses(result, usual), "shots": _shots(result), "explained": _explained(result, usual)}


def _losses(result: Result, usual: pl.DataFrame) -> Any:  # noqa: ANN401 - matplotlib has no types here
    means = usual.group_by("fitted_on", *PAIR).agg(pl.col("lost").mean() * 100)
    cells = {
        f"Points lost, map fitted on {words}": means.filter(fitted_on=fitted_on).select(*PAIR, "lost").rows()
        for fitted_on, words in FITTED_ON.items()
    }
    encoders = list(result.settings["encoders"])
    return pair_heat_maps(encoders, cells, margin=1.5, limits=(0.0, _MOST_LOST), digits=1)


def _shots(result: Result) -> Any:  # noqa: ANN401
    tasks = list(result.settings["tasks"])
    across = min(3, len(tasks))
    rows = -(-len(tasks) // across)
    figure, axes = new_figure(rows, across, width=4.2 * across, height=3.2 * rows)
    kind = pl.col("column").str.extract("^(full|alone|public)")
    for axis, task in zip(axes, tasks, strict=False):
        of_task = shot_accuracies(result).filter(data=task).with_columns(pl.col("accuracy") * 100)
        means = of_task.group_by(kind, "shots").agg(pl.col("accuracy").mean()).sort("shots")
        points = {key: rows.select("shots", "accuracy").rows() for (key,), rows in means.group_by("column")}
        lines(
            axis,
            {"client alone": points["alone"], "mapped": points["public"]},
            title=task,
            x_label="texts of the task that are shared",
            y_label="accuracy, %",
        )
        full = of_task.filter(column="full")["accuracy"].mean()
        axis.axhline(full, color=MUTED, linestyle=":", linewidth=1.2)
        axis.annotate("provider's own", (0, full), fontsize=8, color=MUTED, xytext=(2, 2), textcoords="offset points")
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    return figure


def _explained(result: Result, usual: pl.DataFrame) -> Any:  # noqa: ANN401
    figure, axes = new_figure(1, 2, width=11.5, height=4.6)
    found = usual.filter(fitted_on="task")
    panels = {
        "points by which the client's own head is worse than the provider's": (
            100 * (pl.col("provider_own") - pl.col("client_own"))
        ),
        "share of the provider's test embeddings that the map explains, R²": pl.col("r2"),
    }
    for axis, (x_label, value) in zip(axes, panels.items(), strict=True):
        for index, task in enumerate(result.settings["tasks"]):
            rows = found.filter(data=task)
            axis.scatter(
                rows.select(value).to_series(),
                100 * rows["lost"],
                s=[34 if main else 12 for main in rows["main"]],
                color=PALETTE[index % len(PALETTE)],
                marker=MARKS[index % len(MARKS)],
                label=task,
                alpha=0.75,
                linewidths=0,
            )
        title = "Small: a static encoder in the pair" if axis is axes[0] else ""
        label(axis, title, x_label, "accuracy lost by the map, points")
        grid(axis)
    axes[0].legend(frameon=False, fontsize=8.5, loc="upper left")
    return figure
