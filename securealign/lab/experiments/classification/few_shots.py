"""Maps fitted on public texts and a few of the task's, as text: the layout of the paper's Tables 2 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from securealign.lab.experiments.classification.paper import table_2
from securealign.lab.experiments.classification.tally import (
    columns,
    main_pairs,
    mapped_accuracies,
    own_accuracy,
    shot_accuracies,
)
from securealign.lab.experiments.markdown import percent, percent_spread, table
from securealign.lab.experiments.result import Result

_Pairs = Sequence[tuple[str, str]]


def few_shots(result: Result) -> str:
    """Return the tables, over pairs and for each, with what the paper found."""
    tasks, pairs = list(result.settings["tasks"]), main_pairs(result)
    header = ["full", *(f"alone {count}" for count in result.settings["shots"]), *columns(result)[:-1]]
    overall = table(["data", *header], [[task, *_line(result, task, pairs)] for task in tasks])
    lines = [[task, f"{b} <- {a}", *_line(result, task, [(a, b)])] for task in tasks for a, b in pairs]
    single = table(["data", "target <- source", *header], lines, left=2)
    crossings = "; ".join(_crossing(result, task, pairs) for task in tasks)
    return (
        "`full`: the provider's own head. `alone`: a head of the client's own from that many labelled texts. `public`: "
        "the provider's head through a map fitted on public texts; `public+k` adds k of the task's texts to them. Mean "
        f"and standard deviation over {len(pairs)} pairs and the seeds:\n\n{overall}\n\n"
        f"What a client alone needs to do better than through the public map: {crossings}. "
        f"The paper (Tables 2 and 6):\n\n{table_2()}\n\n"
        f"<details><summary>Every pair</summary>\n\n{single}\n\n</details>"
    )


def _line(result: Result, task: str, pairs: _Pairs) -> list[str]:
    own = own_accuracy(result)
    alone = [_alone(result, task, pairs, count) for count in result.settings["shots"]]
    mapped = [mapped_accuracies(result, name, [task], pairs) for name in columns(result)[:-1]]
    return [percent(fmean(own[target, task] for _, target in pairs)), *map(percent_spread, (*alone, *mapped))]


def _alone(result: Result, task: str, pairs: _Pairs, count: int) -> list[float]:
    return [value for source, _ in pairs for value in shot_accuracies(result, source, task, count)]


def _crossing(result: Result, task: str, pairs: _Pairs) -> str:
    public = fmean(mapped_accuracies(result, "public", [task], pairs))
    shots = result.settings["shots"]
    enough = next((count for count in shots if fmean(_alone(result, task, pairs, count)) > public), None)
    return f"{task}, {enough} labelled texts or fewer" if enough else f"{task}, more than {shots[-1]}"
