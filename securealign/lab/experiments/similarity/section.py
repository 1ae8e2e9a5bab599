"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev

from securealign.lab.experiments.markdown import command, picture, table
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.similarity.measure import PUBLIC
from securealign.lab.experiments.similarity.tally import Pair, extremes, means, pairs_of, values
from securealign.lab.experiments.store import Row

#: Least and largest CKA of embedding services (paper, Figure 2).
PAPER_CKA = (0.595, 0.881)


def section(result: Result) -> str:
    """Return the section: method, picture, tables, and what they say."""
    return "\n\n".join(
        [
            "## Similarity of encoders",
            _method(result),
            command(result.command),
            picture("similarity-public.svg", "Heat maps of CKA and SVCCA for every pair of encoders on public texts"),
            _pairs(result),
            _reading(result),
            _corpora(result),
        ]
    )


def _method(result: Result) -> str:
    public = next(row for row in result.table("pairs") if row["corpus"] == PUBLIC)
    return (
        f"Each of {result.settings['subsamples']} subsamples splits a corpus anew, the public texts into "
        f"{public['train']:,} to fit on and {public['test']:,} to measure on. CKA is the paper's, on centred "
        "embeddings of the texts to measure on. Without bias, HSIC is estimated as by Song et al. (2012): it is zero "
        "on average for encoders that have nothing in common, where the plain one is not; how far that is from zero "
        "by chance, the column with shuffled rows tells. Standardised, every dimension counts alike. SVCCA takes "
        "principal components and canonical directions from the texts to fit on, and the mean correlation, with its "
        "sign, from the others; shuffled, the rows of one side were in another order when directions were fitted."
    )


def _pairs(result: Result) -> str:
    header = ["encoders", "CKA", "without bias", "standardised", "shuffled"]
    columns = ["cka", "cka_debiased", "cka_standardised", "cka_shuffled"]
    for name, count in _svcca(result).items():
        header += [f"SVCCA-{count}", "shuffled"]
        columns += [name, f"{name}_shuffled"]
    lines = [
        [" / ".join(pair), *(_spread(values(result, column, pair)) for column in columns)] for pair in pairs_of(result)
    ]
    parts = ["On the public texts, mean ± standard deviation over subsamples:", table(header, lines), _fewer(result)]
    return "\n\n".join(filter(None, parts))


def _fewer(result: Result) -> str:
    """Return in words where rows or dimensions allowed fewer components than asked for."""
    found = []
    for name, count in _svcca(result).items():
        used = {pair: int(min(values(result, f"{name}_components", pair))) for pair in pairs_of(result)}
        for kept in sorted({kept for kept in used.values() if kept < count}):
            pairs = ", ".join(" / ".join(pair) for pair, value in used.items() if value == kept)
            found.append(f"{kept} instead of {count} for {pairs}")
    return f"Dimensions or texts allow fewer components for some pairs: {'; '.join(found)}." if found else ""


def _reading(result: Result) -> str:
    lines = [*_reading_cka(result)]
    for name, count in _svcca(result).items():
        held, control = means(result, name), means(result, f"{name}_shuffled")
        fitted = means(result, f"{name}_trained_shuffled").values()
        least, most = extremes(held)
        lines.append(
            f"SVCCA-{count} goes from {held[least]:.3f} ({_named(least)}) to {held[most]:.3f} ({_named(most)}). "
            f"Shuffled it is {max(map(abs, control.values())):.3f} at most, with either sign; on the rows that "
            f"directions were fitted on, even shuffled encoders correlate by {min(fitted):.3f} to {max(fitted):.3f}."
        )
    return "\n".join(f"- {line}" for line in lines)


def _reading_cka(result: Result) -> Iterator[str]:
    cka, debiased = means(result, "cka"), means(result, "cka_debiased")
    shuffled = means(result, "cka_shuffled").values()
    low, high = extremes(cka)
    yield (
        f"CKA goes from {cka[low]:.3f} ({_named(low)}) to {cka[high]:.3f} ({_named(high)}). The paper's embedding "
        f"services go from {PAPER_CKA[0]} to {PAPER_CKA[1]}, on other texts; {_above(cka)}."
    )
    told = [pair for pair, value in cka.items() if value > max(shuffled)]
    yield (
        f"With shuffled rows it is {min(shuffled):.3f} to {max(shuffled):.3f}; {len(told)} of {len(cka)} pairs are "
        "above all of these."
    )
    yield (
        f"Without bias, pairs lie between {min(debiased.values()):.3f} and {max(debiased.values()):.3f}: "
        f"{fmean(cka[pair] - debiased[pair] for pair in cka):.3f} below the plain one on average."
    )


def _above(cka: dict[Pair, float]) -> str:
    inside = sum(value >= PAPER_CKA[0] for value in cka.values())
    return f"{inside} of {len(cka)} pairs here reach the least of these"


def _corpora(result: Result) -> str:
    columns = ["cka", "cka_debiased", *_svcca(result)]
    lines = []
    for corpus, size in result.settings["corpora"].items():
        cells = []
        for column in columns:
            found = means(result, column, corpus).values()
            cells.append(f"{fmean(found):.3f} ({min(found):.3f} to {max(found):.3f})")
        lines.append([corpus, f"{size:,}", *cells])
    header = ["corpus", "texts", "CKA", "without bias", *(f"SVCCA-{count}" for count in _svcca(result).values())]
    return f"On every corpus, mean (least to largest) over pairs of encoders:\n\n{table(header, lines)}"


def _svcca(result: Result) -> dict[str, int]:
    return {f"svcca_{count}": count for count in result.settings["components"]}


def _named(pair: Pair) -> str:
    return f"{pair[0]} and {pair[1]}"


def _spread(found: list[float]) -> str:
    return f"{fmean(found):.3f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: the public texts."""
    columns = {"CKA": "cka", "without bias": "cka_debiased", "shuffled": "cka_shuffled"}
    for name, count in _svcca(result).items():
        columns |= {f"SVCCA-{count}": name, f"SVCCA-{count}, shuffled": f"{name}_shuffled"}
    found = {label: means(result, column) for label, column in columns.items()}
    rows: list[Row] = [
        {"encoder": pair[0], "other": pair[1], **{label: cells[pair] for label, cells in found.items()}}
        for pair in pairs_of(result)
    ]
    return "Similarity on the public texts, mean over subsamples", rows
