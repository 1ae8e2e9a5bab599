"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from securealign.lab.experiments.leakage.tally import alignment_means, found_by_pair, mean, penalty_means, rows_of
from securealign.lab.experiments.markdown import command, percent, picture, table
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

Pair = tuple[str, str]


def section(result: Result) -> str:
    """Return the section: what alignments and mapped embeddings give away, with controls, and what it says."""
    return "\n\n".join(
        [
            "## What an alignment gives away",
            command(result.command),
            "### Of the provider's public embeddings",
            _alignment_method(result),
            picture(
                "leakage-alignment.svg", "Leaked share and R² on held-out texts, by public rows for each dimension"
            ),
            _alignment(result),
            _alignment_reading(result),
            _penalty(result),
            "### Of the client's texts, were its mapped embeddings not encrypted",
            _inversion_method(result),
            picture("leakage-inversion.svg", "Heat maps of texts found and of words in common, by pair of encoders"),
            _inversion(result),
            _inversion_reading(result),
            f"<details><summary>Every pair of encoders</summary>\n\n{_pairs(result)}\n\n</details>",
        ]
    )


def _alignment_method(result: Result) -> str:
    return (
        "The product of Z_B and Z_A, which the client decrypts, determines the projection of Z_A on the column space "
        "of Z_B, unless the provider adds noise for differential privacy, as here it does not. `leaked` is the share "
        "of the variance of Z_A in it: R² of least squares on the N rows themselves. The paper states no number for "
        "it. `shuffled` is the control, where rows of Z_A belong to other texts: a projection on r directions then "
        "holds r / (N - 1) of the variance on average, whatever the encoders. `used` is R² of the ridge map on the "
        "same rows, and `held out` on public texts that it was not fitted on. Means over providers and "
        f"{result.settings['seeds']} draws of rows."
    )


def _alignment(result: Result) -> str:
    dimensions = result.settings["encoders"]
    rows = [
        [
            row["source"], f"{dimensions[row['source']]}", f"{row['rows']:,}", f"{row['ratio']:.2f}",
            *(f"{row[name]:.3f}" for name in ("leaked", "leaked_shuffled", "expected_shuffled", "used", "held_out")),
        ]
        for row in alignment_means(result)
    ]  # fmt: skip
    header = ["client's encoder", "d_B", "N", "N / d_B", "leaked", "shuffled", "r / (N - 1)", "used", "held out"]
    return table(header, rows)


def _alignment_reading(result: Result) -> str:
    means = alignment_means(result)
    dimensions = result.settings["encoders"]
    lines = []
    full = [row for row in means if row["rows"] <= dimensions[row["source"]] + 1]
    if full:
        least = percent(min(row["leaked"] for row in full))
        lines.append(f"With N up to d_B + 1 the client learns at least {least} % of Z_A ({len(full)} cases).")
    rest = [row for row in means if row not in full]
    if rest:
        low, high = min(rest, key=_leaked), max(rest, key=_leaked)
        lines.append(
            f"With more rows it learns from {_at(low)} to {_at(high)}; encoders with nothing in common would give "
            f"{percent(low['expected_shuffled'])} % and {percent(high['expected_shuffled'])} % there."
        )
    apart = max(abs(row["leaked_shuffled"] - row["expected_shuffled"]) for row in means)
    lines.append(f"The shuffled control differs from r / (N - 1) by {apart:.3f} at most.")
    worst = min(means, key=lambda row: float(row["held_out_least_squares"]))
    lines.append(
        f"What leaks is not what generalises: on held-out texts, least squares has R² of "
        f"{worst['held_out_least_squares']:.2f} for {worst['source']} with N = {worst['rows']:,}, where "
        f"{percent(worst['leaked'])} % leak; the ridge map has {worst['held_out']:.2f}."
    )
    return "\n".join(f"- {line}" for line in lines)


def _at(row: Row) -> str:
    return f"{percent(row['leaked'])} % ({row['source']}, N / d_B = {row['ratio']:.1f})"


def _leaked(row: Row) -> float:
    return float(row["leaked"])


def _penalty(result: Result) -> str:
    means = penalty_means(result)
    rows = [[f"{row['share']:g}", *(f"{row[name]:.3f}" for name in ("used", "held_out", "leaked"))] for row in means]
    size = result.settings["sizes"][-1]
    text = (
        "The ridge penalty, as a share of the mean diagonal of the Gram matrix, for one draw of "
        f"N = {size:,} rows and on average over pairs. It changes what the map holds of Z_A, but not what the client "
        "learns: it has the product before it solves, and from a map and its own Gram matrix it could work the product "
        "out again."
    )
    first, last = means[0], means[-1]
    reading = (
        f"From a penalty of {first['share']:g} to {last['share']:g}, the map's R² on its own rows goes from "
        f"{first['used']:.3f} to {last['used']:.3f}."
    )
    return f"{text} {reading}\n\n{table(['penalty', 'used', 'held out', 'leaked'], rows)}"


def _inversion_method(result: Result) -> str:
    return (
        "An attacker with the provider's encoder and the public texts looks up the nearest text of a mapped embedding, "
        "by cosine about the public mean. `words` is F1 of the sets of words of the nearest public text and the true "
        f"one, of the first {result.settings['words']} words of each, weighted by how rare they are. `first` and `in "
        "ten` are the shares of true texts that come first, or among the first ten, when the collection holds all of "
        "the task's test texts too. Native are the provider's own embeddings of the same texts: what a map without any "
        "loss would give. The control is a public text drawn by chance."
    )


def _inversion(result: Result) -> str:
    rows = []
    for task in _tasks(result):
        mapped, native = rows_of(result, "mapped", task), rows_of(result, "native", task)
        candidates = native[0]["candidates"]
        cells = [task, f"{candidates:,}"]
        for column in ("top1", "top10"):
            cells += [
                _range(mapped, column),
                percent(mean(native, column)),
                f"{_chance(column) * 100 / candidates:.2f}",
            ]
        cells += [_range(mapped, "overlap"), percent(mean(native, "overlap")), percent(mean(native, "overlap_guessed"))]
        rows.append(cells)
    header = ["texts", "candidates"]
    for name in ("first", "in ten", "words"):
        header += [f"{name}, mapped", "native", "chance"]
    return f"In percent, mean (least to largest) over pairs of encoders:\n\n{table(header, rows)}"


def _inversion_reading(result: Result) -> str:
    first = found_by_pair(result)
    low, high = min(first, key=first.__getitem__), max(first, key=first.__getitem__)
    mapped, native = result.table("mapped"), result.table("native")
    words, own, guessed = mean(mapped, "overlap"), mean(native, "overlap"), mean(native, "overlap_guessed")
    lines = [
        f"Among candidates that include it, the true text comes first for {percent(first[high])} % of the mapped "
        f"embeddings of {_named(high)} and {percent(first[low])} % of {_named(low)}: so much would the provider read "
        "without encryption.",
        f"The nearest public text shares {percent(words)} % of the words on average with mapped embeddings, "
        f"{percent(own)} % with native ones and {percent(guessed)} % by chance"
        + (
            f": mapping keeps {percent((words - guessed) / (own - guessed))} % of the gain over chance."
            if own > guessed
            else "."
        ),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _pairs(result: Result) -> str:
    largest = result.settings["sizes"][-1]
    rows = []
    columns = {name: found_by_pair(result, name) for name in ("top1", "top10", "overlap")}
    for pair in columns["top1"]:
        found = [
            row for row in result.table("alignment") if (row["source"], row["target"], row["rows"]) == (*pair, largest)
        ]
        cells = [f"{mean(found, name):.3f}" for name in ("leaked", "leaked_shuffled", "used", "held_out")]
        rows.append([f"{pair[1]} <- {pair[0]}", *cells, *(percent(values[pair]) for values in columns.values())])
    header = [
        "target <- source",
        f"leaked, N = {largest:,}", "shuffled", "used", "held out", "first, %", "in ten, %", "words, %"
    ]  # fmt: skip
    return table(header, rows)


def _tasks(result: Result) -> list[str]:
    return list(dict.fromkeys(row["data"] for row in result.table("native")))


def _range(rows: list[Row], column: str) -> str:
    values = [row[column] for row in rows]
    return f"{percent(mean(rows, column))} ({percent(min(values))} to {percent(max(values))})"


def _chance(column: str) -> int:
    return {"top1": 1, "top10": 10}[column]


def _named(pair: Pair) -> str:
    return f"{pair[1]} <- {pair[0]}"


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: every pair at the largest size."""
    largest, first, words = result.settings["sizes"][-1], found_by_pair(result), found_by_pair(result, "overlap")
    rows: list[Row] = []
    for source, target in first:
        found = [
            row
            for row in result.table("alignment")
            if (row["source"], row["target"], row["rows"]) == (source, target, largest)
        ]
        row: Row = {"client": source, "provider": target, "N / d_B": mean(found, "ratio")}
        row |= {"leaked": mean(found, "leaked"), "by chance": mean(found, "expected_shuffled")}
        row |= {"held out": mean(found, "held_out"), "found first": first[source, target]}
        rows.append(row | {"words": words[source, target]})
    return f"What {largest:,} public rows and mapped texts give away", rows
