"""What pictures and text of the experiment look up in its tables."""

from __future__ import annotations

from collections.abc import Iterable

from securealign.lab.experiments.generation.prediction import FITTED, PAIRED, SHUFFLED
from securealign.lab.experiments.generation.setting import Pair
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row
from securealign.lab.generation.depths import POST_NORM


def pairs_of(result: Result) -> list[Pair]:
    """Return the (source, target) pairs in the order of the table."""
    return list(dict.fromkeys((row["source"], row["target"]) for row in result.table("scores")))


def usual(result: Result, pair: Pair, *, positions: str = PAIRED, kind: str = FITTED) -> Row | None:
    """Return the scores of the map between the states that heads read, with the penalty of the run."""
    rows = _rows(result, pair, positions=positions, kind=kind, penalty=str(result.settings["ridge"]))
    return next((row for row in rows if row["depth"] == row["landing"] == POST_NORM), None)


def other_penalty(result: Result, pair: Pair) -> Row | None:
    """Return the scores of the usual map under the penalty that is compared."""
    rows = (row for row in _rows(result, pair) if row["penalty"] != str(result.settings["ridge"]))
    return next(rows, None)


def shuffled(result: Result, pair: Pair) -> Row | None:
    """Return the scores of the usual map with its rows shuffled."""
    return usual(result, pair, kind=SHUFFLED)


def sweep(result: Result, pair: Pair, *, like: bool) -> list[Row]:
    """Return the scores by depth: onto the state that the head reads or, with `like`, onto the same depth."""
    rows = list(_rows(result, pair, penalty=str(result.settings["ridge"])))
    return [row for row in rows if row["landing"] == (row["depth"] if like else POST_NORM)]


def _rows(
    result: Result, pair: Pair, *, positions: str = PAIRED, kind: str = FITTED, penalty: str | None = None
) -> Iterable[Row]:
    for row in result.table("scores"):
        if (row["source"], row["target"], row["positions"], row["map"]) == (*pair, positions, kind) and penalty in {
            None,
            row["penalty"],
        }:
            yield row


def named(pair: Pair) -> str:
    """Return a pair, or a model by itself, as text."""
    return f"{pair[0]} → {pair[1]}" if pair[1] else f"{pair[0]} by itself"
