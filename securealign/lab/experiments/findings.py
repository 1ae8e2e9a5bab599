"""What the results say when they are compared with each other: when an alignment fails, and what tells beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from securealign.lab.experiments.classification.values import PAIR, losses
from securealign.lab.experiments.markdown import render
from securealign.lab.experiments.result import Result

#: Difference of two accuracies on some hundred texts that counts as none.
_ALIKE = 0.03


def findings(results: Mapping[str, Result]) -> str:
    """Return a section of findings, each with its numbers; empty without the classification experiment."""
    if "classification" not in results:
        return ""
    result = results["classification"]
    usual = losses(result, fit=result.settings["map"]).filter("main")
    on_task, on_public = usual.filter(fitted_on="task"), usual.filter(fitted_on="public")
    by_task = (
        on_public.group_by("data", maintain_order=True).agg(pl.col("lost").mean()).sort("lost", maintain_order=True)
    )
    return render(
        "findings.md.j2",
        alike=_ALIKE,
        on_task=on_task,
        gap=rank_correlation(on_task["lost"], on_task["provider_own"] - on_task["client_own"]),
        unexplained=rank_correlation(on_task["lost"], 1 - on_task["r2"]),
        near=((on_task["mapped"] - on_task["client_own"]).abs() <= _ALIKE).sum(),
        on_public=on_public,
        best=by_task.row(0, named=True),
        worst=by_task.row(-1, named=True),
        **_beforehand(on_public, result, results.get("similarity")),
    )


def _beforehand(on_public: pl.DataFrame, result: Result, similarity: Result | None) -> dict[str, Any]:
    """Return by how much losses with public maps go with what is known beforehand; nothing for less than 3 pairs."""
    if similarity is None:
        return {}
    known = (
        similarity.frame("pairs")
        .filter(corpus="public")
        .group_by("encoder", "other")
        .agg(pl.col("cka_debiased").last())
    )
    both = pl.concat([known, known.select(encoder="other", other="encoder", cka_debiased="cka_debiased")])
    pairs = (
        on_public.group_by(PAIR, maintain_order=True)
        .agg(pl.col("lost").mean(), pl.col("client_own").mean())
        .join(result.frame("pairs").select(*PAIR, "r2_unseen"), on=PAIR)
        .join(both, left_on=PAIR, right_on=("encoder", "other"))
    )
    if len(pairs) < 3:
        return {}
    known_beforehand = {"cka": "cka_debiased", "r2": "r2_unseen", "client": "client_own"}
    return {name: rank_correlation(pairs["lost"], pairs[column]) for name, column in known_beforehand.items()}


def rank_correlation(first: Sequence[float] | pl.Series, second: Sequence[float] | pl.Series) -> float:
    """Return Spearman's rank correlation, 0 where one does not vary."""
    varies = all(np.ptp(np.asarray(values)) > 0 for values in (first, second))
    return float(spearmanr(first, second).statistic) if varies else 0.0
