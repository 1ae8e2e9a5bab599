"""What pictures and text of the experiment count up from its table."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

from securealign.lab.experiments.result import Result
from securealign.lab.experiments.similarity.measure import PUBLIC

Pair = tuple[str, str]


def pairs_of(result: Result) -> list[Pair]:
    """Return the pairs of encoders."""
    return list(combinations(result.settings["encoders"], 2))


def values(result: Result, measure: str, pair: Pair, corpus: str = PUBLIC) -> list[float]:
    """Return a measure of a pair on a corpus, for each subsample."""
    return [
        row[measure]
        for row in result.table("pairs")
        if (row["encoder"], row["other"], row["corpus"]) == (*pair, corpus)
    ]


def means(result: Result, measure: str, corpus: str = PUBLIC) -> dict[Pair, float]:
    """Return the mean of a measure over subsamples, by pair."""
    return {pair: fmean(values(result, measure, pair, corpus)) for pair in pairs_of(result)}


def extremes(found: dict[Pair, float]) -> tuple[Pair, Pair]:
    """Return the pairs with the least and the largest value."""
    return min(found, key=found.__getitem__), max(found, key=found.__getitem__)
