"""The experiment as a section of docs/results.md, with the paper's numbers beside it."""

from __future__ import annotations

from collections import Counter
from statistics import fmean, stdev
from typing import get_args

from securealign.alignment.regression import MapKind
from securealign.lab.experiments.classification.few_shots import few_shots
from securealign.lab.experiments.classification.losses import STATIC
from securealign.lab.experiments.classification.paper import MAX_LOSS, table_1
from securealign.lab.experiments.classification.tally import (
    FITS,
    all_losses,
    columns,
    is_main,
    main_pairs,
    mapped_accuracies,
    own_accuracy,
    pairs_of,
    rival_losses,
)
from securealign.lab.experiments.markdown import command, percent, percent_spread, picture, table
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

_FITTED_ON = {"task": "the task's texts", "public": "public texts"}


def section(result: Result) -> str:
    """Return the section."""
    parts = [
        "## Classification: does the head work on mapped embeddings?",
        _setting(result),
        command(result.command),
        "### Kinds of map",
        _kinds(result),
        "### Maps fitted on the task's own texts (the paper's Table 1)",
        _in_distribution(result),
        f"The paper, with embedding services and models of billions of parameters:\n\n{table_1()}",
        picture("classification-losses.svg", "Points of accuracy lost, by pair of encoders"),
        "### Where more is lost than the paper's range",
        _exceptions(result),
        picture(
            "classification-explained.svg",
            "Accuracy lost against how much less the client knows, and against R²",
        ),
        "### Maps fitted on public texts, and a few of the task's (the paper's Tables 2 and 6)",
        few_shots(result),
        picture("classification-shots.svg", "Accuracy against the number of labelled texts shared"),
    ]
    if result.settings["rivals"]:
        parts += ["### Other kinds of map", _other_maps(result)]
    if result.table("encrypted"):
        parts += ["### The same under encryption", _encrypted(result)]
    return "\n\n".join(parts)


def _setting(result: Result) -> str:
    facts = result.settings
    tasks = ", ".join(f"{name} ({task['classes']} classes)" for name, task in facts["tasks"].items())
    encoders = ", ".join(f"{name} ({dimension})" for name, dimension in facts["encoders"].items())
    train, test = (max(task[part] for task in facts["tasks"].values()) for part in ("train", "test"))
    return (
        f"Encoders (dimension): {encoders}. Tasks: {tasks}; at most {train} training and {test} test texts each. The "
        "provider's head is a logistic regression on its own embeddings of the training texts, with the penalty that "
        "held-out ones of them choose, as every head here. Maps are fitted as a client fits them by `ridge = auto`: "
        "columns are standardised, and generalised cross-validation chooses the penalty. They are "
        f"{facts['map']} maps unless a table says otherwise. There are {facts['public']} public texts "
        f"({', '.join(facts['public_sets'])}). Each of {facts['seeds']} seeds fits the map on another "
        f"{facts['part']:.0%} of the training texts, or adds other shots, each of which counts for "
        f"{facts['shot_weight']:g} public texts. The standard error of an accuracy near 80 % "
        f"on {test} texts is {100 * (0.16 / test) ** 0.5:.1f} points: smaller differences mean nothing."
    )


def _kinds(result: Result) -> str:
    tasks, pairs, own = list(result.settings["tasks"]), main_pairs(result), own_accuracy(result)
    lines = []
    for fitted_on, words in _FITTED_ON.items():
        for kind in get_args(MapKind):
            lost = [
                fmean(
                    own[pair[1], task] - fmean(mapped_accuracies(result, fitted_on, [task], [pair], kind))
                    for pair in pairs
                )
                for task in tasks
            ]
            lines.append([kind, words, *(f"{100 * value:.1f}" for value in (fmean(lost), *lost))])
    return (
        f"Points of accuracy lost, mean over {len(pairs)} pairs of {_whom(result)}; less is better. `ridge` is the "
        "paper's map, which shrinks what it cannot explain; `soft` keeps the spread of what stands above chance.\n\n"
        + table(["map", "fitted on", "mean", *tasks], lines, left=2)
    )


def _in_distribution(result: Result) -> str:
    tasks, own = list(result.settings["tasks"]), own_accuracy(result)
    lines = []
    for source, target in pairs_of(result):
        cells = []
        for task in tasks:
            found = mapped_accuracies(result, "task", [task], [(source, target)])
            cells.append(f"{percent(own[target, task])} → {percent_spread(found)} ({percent(own[source, task])})")
        lines.append([f"{target} <- {source}", *cells])
    found_rows = [row for row in all_losses(result) if is_main(result, row)]
    drops = [row["provider_own"] - row["mapped"] for row in found_rows]
    better = sum(row["mapped"] > row["provider_own"] for row in found_rows)
    return (
        "Accuracy in percent: provider's own → through the map, mean and standard deviation over seeds; in brackets "
        "what the client's encoder reaches with a head of its own, were it given all labels. "
        f"Over the {len(drops)} combinations of {_whom(result)} and a task, the map costs "
        f"{100 * fmean(drops):.1f} points on average ({100 * min(drops):.1f} to {100 * max(drops):.1f}); "
        f"{sum(drop <= MAX_LOSS for drop in drops)} stay within {100 * MAX_LOSS:.0f} points, and in {better} the "
        "mapped client does better than the provider itself."
        f"\n\n{table(['target <- source', *tasks], lines)}"
    )


def _whom(result: Result) -> str:
    return "two transformers" if any(not STATIC & set(pair) for pair in pairs_of(result)) else "two encoders"


def _exceptions(result: Result) -> str:
    rows = result.table("exceptions")
    kept = [row for row in rows if is_main(result, row)]
    if not kept:
        return f"No combination of {_whom(result)} and a task loses more than {100 * MAX_LOSS:.0f} points."
    lines = [
        [f"{row['target']} <- {row['source']}", row["data"], *(percent(row[name]) for name in _NUMBERS),
         f"{row['r2']:.2f}", reason(row)]
        for row in sorted(kept, key=lambda row: row["mapped"] - row["provider_own"])
    ]  # fmt: skip
    header = ["target <- source", "data", "provider's own", "mapped", "client's own", "head refitted", "R²", "reason"]
    reasons = "; ".join(f"{name} ({count})" for name, count in Counter(map(reason, kept)).most_common())
    return (
        "The client's own head tells what its encoder knows of the task. A head refitted on the mapped training texts "
        "tells what is left of it after the map; what the provider's head loses against that, it loses because the map "
        "moved the classes, not because it forgot them. The reason is the largest of the three gaps: "
        f"{reasons}. With a static encoder in the pair, {len(rows) - len(kept)} more combinations lose as much.\n\n"
        + table(header, lines, left=2)
    )


_NUMBERS = ("provider_own", "mapped", "client_own", "refitted")


def reason(row: Row) -> str:
    """Return in words where most of a loss arises: in what the client's encoder knows, or in the map."""
    gaps = {
        "the client's encoder knows less of the task": row["provider_own"] - row["client_own"],
        "the map loses what the client's encoder knows": row["client_own"] - row["refitted"],
        "the map moves the classes": row["refitted"] - row["mapped"],
    }
    return max(gaps, key=lambda name: gaps[name])


def _other_maps(result: Result) -> str:
    lines = []
    for fit in FITS:
        found = [rival_losses(result, fit, fitted_on) for fitted_on in _FITTED_ON]
        lines.append([fit, *(f"{100 * fmean(values):.1f} ± {100 * stdev(values):.1f}" for values in found)])
    return (
        f"Points of accuracy lost, mean and standard deviation over tasks and the pairs of "
        f"{', '.join(result.settings['rivals'])}; less is better. `mean only` is the control: with it, nothing is "
        "aligned. Whitening needs the provider's Gram matrix too, which the protocol does not share. Reduced rank "
        f"keeps {result.settings['rank']} directions.\n\n"
        + table(["map", *(f"fitted on {name}" for name in _FITTED_ON.values())], lines)
    )


def _encrypted(result: Result) -> str:
    rows = result.table("encrypted")
    lines = [
        [row["data"], _FITTED_ON[row["fitted_on"]], percent(row["clear"]), percent(row["encrypted"]),
         f"{row['equal_labels']:.1%}", f"{row['training_bytes'] / 1e6:.1f}", f"{row['query_bytes'] / 1e3:.1f}"]
        for row in rows
    ]  # fmt: skip
    largest = max(abs(row["clear"] - row["encrypted"]) for row in rows)
    header = ["data", "map fitted on", "clear, %", "encrypted, %", "equal labels", "training, MB", "a query, KB"]
    return (
        f"The whole row {rows[0]['target']} <- {rows[0]['source']}, map (`{rows[0]['map']}`) learnt and used under "
        f"encryption (suite `{rows[0]['suite']}`). The largest difference of an accuracy is {100 * largest:.2f} "
        "points.\n\n" + table(header, lines, left=2)
    )


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: means over tasks."""
    own, tasks = own_accuracy(result), list(result.settings["tasks"])
    rows: list[Row] = []
    for source, target in pairs_of(result):
        row: Row = {"client": source, "provider": target}
        row["client's own"] = fmean(own[source, task] for task in tasks)
        row["provider's own"] = fmean(own[target, task] for task in tasks)
        for name in reversed(columns(result)):
            row[name] = fmean(mapped_accuracies(result, name, tasks, [(source, target)]))
        rows.append(row)
    return f"Accuracy, mean over {', '.join(tasks)}", rows
