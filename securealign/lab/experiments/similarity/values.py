"""What the section, the pictures and the summary of the experiment take from its table."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from securealign.lab.experiments.figures import pair_heat_maps
from securealign.lab.experiments.run import Result

#: Name of the public texts among the corpora.
PUBLIC = "public"
#: Least and largest CKA of embedding services (paper, Figure 2).
PAPER_CKA = (0.595, 0.881)
PAIR = ("encoder", "other")


def means(result: Result) -> pl.DataFrame:
    """Return the mean of every measure over subsamples of the public texts, by pair of encoders."""
    public = result.frame("pairs").filter(corpus=PUBLIC)
    return public.group_by(PAIR, maintain_order=True).agg(pl.exclude("corpus").mean())


def values(result: Result) -> dict[str, Any]:
    """Return the values of the section's template."""
    by_pair = result.frame("pairs").group_by("corpus", *PAIR, maintain_order=True)
    public, components = means(result), result.settings["components"]
    cka = public.sort("cka", maintain_order=True)
    shuffled = public["cka_shuffled"]
    sizes = pl.DataFrame(result.settings["corpora"]).unpivot(variable_name="corpus", value_name="texts")
    svcca = [(f"SVCCA-{count}", f"svcca_{count}") for count in components]
    return {
        "svcca_ranges": [(title, f"{{{name}:range .3f}}") for title, name in svcca],
        "svcca_spreads": [
            column
            for title, name in svcca
            for column in ((title, f"{{{name}:spread .3f}}"), ("shuffled", f"{{{name}_shuffled:spread .3f}}"))
        ],
        "first": result.table("pairs")[0],
        "pairs": by_pair.agg(pl.all()).filter(corpus=PUBLIC),
        "fewer": [text for count in components for text in _fewer(public, count)],
        "paper": PAPER_CKA,
        "low": cka.row(0, named=True),
        "high": cka.row(-1, named=True),
        "reached": (public["cka"] >= PAPER_CKA[0]).sum(),
        "above": (public["cka"] > shuffled.max()).sum(),
        "public": public,
        "bias": (public["cka"] - public["cka_debiased"]).mean(),
        "svcca": [_svcca(public, count) for count in components],
        "corpora": by_pair.agg(pl.all().mean())
        .group_by("corpus", maintain_order=True)
        .agg(pl.all())
        .join(sizes, on="corpus", maintain_order="left"),
    }


def _fewer(public: pl.DataFrame, count: int) -> list[str]:
    """Return which pairs have fewer components than asked for, because dimensions or texts allow no more."""
    used = pl.col(f"svcca_{count}_components").cast(pl.Int64)
    pairs = pl.format("{} / {}", *PAIR).str.join(", ")
    found = public.filter(used < count).group_by(used.alias("used")).agg(pairs.alias("pairs")).sort("used")
    return [f"{kept} instead of {count} for {names}" for kept, names in found.rows()]


def _svcca(public: pl.DataFrame, count: int) -> dict[str, Any]:
    name = f"svcca_{count}"
    ordered = public.sort(name, maintain_order=True)
    low, high = ordered.row(0, named=True), ordered.row(-1, named=True)
    return {
        "count": count,
        "low": low[name],
        "high": high[name],
        "least": low,
        "most": high,
        "control": public[f"{name}_shuffled"].abs().max(),
        "fitted": public[f"{name}_trained_shuffled"].to_list(),
    }


def summary(result: Result) -> tuple[str, pl.DataFrame]:
    """Return a title and a short table for the terminal: the public texts."""
    columns = {"CKA": "cka", "without bias": "cka_debiased", "shuffled": "cka_shuffled"}
    for count in result.settings["components"]:
        columns |= {f"SVCCA-{count}": f"svcca_{count}", f"SVCCA-{count}, shuffled": f"svcca_{count}_shuffled"}
    return "Similarity on the public texts, mean over subsamples", means(result).select(*PAIR, **columns)


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
