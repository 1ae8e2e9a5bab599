"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot
from statistics import fmean

from securealign.lab.experiments.markdown import command, percent, picture, table
from securealign.lab.experiments.ood.tally import MAPS, Line, cases, changes, layout, length_alone, mean_auroc
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row
from securealign.lab.measures.ood import auroc_error

_PAPER_TABLE_1 = [
    ["AG News / MNLI", "Gemini <- OpenAI", "0.908 → 0.891"],
    ["AG News / MNLI", "Mistral <- Qwen", "0.953 → 0.940"],
    ["TREC / AG News", "OpenAI <- Qwen", "0.738 → 0.916"],
    ["TREC / AG News", "Cohere <- Gemini", "0.921 → 0.766"],
    ["SST-2 / AG News", "Gemini <- OpenAI", "0.826 → 0.801"],
    ["DBpedia / Yahoo", "OpenAI <- Qwen", "0.979 → 0.974"],
    ["IMDB / Amazon", "Gemini <- OpenAI", "0.523 → 0.543"],
]
_PAPER_TABLE_7 = [
    ["SST-2 / AG News", "0.82 to 0.88", "0.77 to 0.85"],
    ["TREC / AG News", "0.41 to 0.95", "0.43 to 0.79"],
    ["AG News / MNLI", "0.88 to 0.96", "0.72 to 0.84"],
    ["DBpedia / Yahoo", "0.96 to 0.98", "0.54 to 0.72"],
]
#: Changes of an AUROC that are told from none, in standard errors of a difference as if both were of other texts.
_SURE = 2.0


def section(result: Result) -> str:
    """Return the section: method, picture, tables in the layout of the paper's, and what they say."""
    lines = layout(result)
    return "\n\n".join(
        [
            "## Texts out of distribution",
            _method(result),
            command(result.command),
            picture("ood-auroc.svg", "Heat maps of AUROC by task and data set, and by pair of encoders"),
            _ranges(result, lines),
            _reading(result, lines),
            _pairs(lines),
            _paper(),
            f"<details><summary>Every pair, as in the paper's Table 7</summary>\n\n{_all(lines)}\n\n</details>",
        ]
    )


def _method(result: Result) -> str:
    binary = [name for name, task in result.settings["tasks"].items() if task["classes"] == 2]
    text = (
        "The provider's head scores texts of its task and of another data set: its own embeddings of them, and the "
        "client's, mapped by a map that was fitted on the task's training texts or on public texts. Energy is "
        "-log Σ exp of the logits, the higher the more unlike the task. FPR@95 is the share of the other data set's "
        "texts that pass when 95 % of the task's do; less is better. `length alone` is the control: how well the "
        "number of words tells the two apart. Where it does well, a good AUROC shows little."
    )
    if binary:
        text += (
            f" With two classes ({', '.join(binary)}) the logits are s/2 and -s/2, and both scores put texts in the "
            "same order."
        )
    return text


def _ranges(result: Result, lines: list[Line]) -> str:
    length, rows = length_alone(result), []
    for case in cases(result):
        found = [line for line in lines if (line.data, line.ood) == case]
        row = [" / ".join(case), f"{length[case]:.2f}"]
        for name in MAPS:
            areas = [line.auroc[name] for line in found]
            row.append(f"{min(areas):.2f} to {max(areas):.2f}")
        row += [percent(fmean(line.fpr95[name] for line in found)) for name in MAPS]
        rows.append(row)
    titles = MAPS.values()
    header = ["task / out of distribution", "length alone", *titles, *(f"FPR@95, {title}" for title in titles)]
    text = "AUROC of the energy, least to largest over pairs of encoders; FPR@95 in percent, mean:"
    return f"{text}\n\n{table(header, rows)}"


def _reading(result: Result, lines: list[Line]) -> str:
    said = [*_change(result, lines, "task"), *_change(result, lines, "public"), _scores(result), _length(result, lines)]
    return "\n".join(f"- {line}" for line in said)


def _change(result: Result, lines: list[Line], fitted_on: str) -> Iterator[str]:
    sizes = {(row["data"], row["ood"]): (row["inside"], row["texts"]) for row in result.table("length")}
    found = changes(lines, fitted_on)
    errors = [
        hypot(*(auroc_error(line.auroc[name], *sizes[line.data, line.ood]) for name in ("own", fitted_on)))
        for line in lines
    ]
    worse = sum(change < -_SURE * error for change, error in zip(found, errors, strict=True))
    better = sum(change > _SURE * error for change, error in zip(found, errors, strict=True))
    least = lines[found.index(min(found))]
    yield (
        f"Under the {MAPS[fitted_on]}, AUROC changes by {fmean(found):+.3f} on average, from "
        f"{mean_auroc(lines, 'own'):.3f} to {mean_auroc(lines, fitted_on):.3f}: of {len(found)} combinations, {worse} "
        f"fall and {better} rise by more than {_SURE:g} standard errors of {max(errors):.3f} at most. The largest "
        f"fall: {least.data} / {least.ood}, {least.target} <- {least.source}: {least.auroc['own']:.3f} → "
        f"{least.auroc[fitted_on]:.3f}."
    )


def _scores(result: Result) -> str:
    parts = []
    for score, name in {"energy": "energy", "softmax": "the largest softmax probability"}.items():
        lines = layout(result, score)
        parts.append(f"{' / '.join(f'{mean_auroc(lines, key):.3f}' for key in MAPS)} with {name}")
    return f"Mean AUROC ({' / '.join(MAPS.values())}): {', '.join(parts)}."


def _length(result: Result, lines: list[Line]) -> str:
    length = length_alone(result)
    beaten = [
        " / ".join(case)
        for case in cases(result)
        if length[case] >= fmean(line.auroc["own"] for line in lines if (line.data, line.ood) == case)
    ]
    return (
        f"Length alone does as well as the provider's own energy, or better, in {len(beaten)} of {len(length)} cases"
        + (f": {', '.join(beaten)}." if beaten else ".")
    )


def _pairs(lines: list[Line]) -> str:
    rows = []
    for source, target in dict.fromkeys((line.source, line.target) for line in lines):
        found = [line for line in lines if (line.source, line.target) == (source, target)]
        cells = [f"{mean_auroc(found, name):.3f}" for name in MAPS]
        cells += [percent(fmean(line.fpr95[name] for line in found)) for name in MAPS]
        rows.append([f"{target} <- {source}", *cells])
    titles = MAPS.values()
    header = ["target <- source", *titles, *(f"FPR@95, {title}" for title in titles)]
    return f"Mean over tasks and data sets, AUROC of the energy and FPR@95 in percent:\n\n{table(header, rows)}"


def _paper() -> str:
    first = table(["task / out of distribution", "target <- source", "AUROC, own → task map"], _PAPER_TABLE_1, left=2)
    seventh = table(["task / out of distribution", "own", "public map"], _PAPER_TABLE_7)
    return (
        f"The paper's Table 1, on other data with larger models:\n\n{first}\n\n"
        f"and the ranges of its Table 7, whose map is from IMDB alone:\n\n{seventh}"
    )


def _all(lines: list[Line]) -> str:
    titles = MAPS.values()
    header = ["task", "out of distribution", "target <- source", *titles]
    header += [f"{what}, {title}" for what in ("FPR@95", "accuracy") for title in titles]
    rows = [
        [
            line.data, line.ood, f"{line.target} <- {line.source}",
            *(f"{line.auroc[name]:.3f}" for name in MAPS),
            *(percent(line.fpr95[name]) for name in MAPS),
            *(percent(line.accuracy[name]) for name in MAPS),
        ]
        for line in lines
    ]  # fmt: skip
    return table(header, rows, left=3)


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: means over pairs of encoders."""
    lines, length, rows = layout(result), length_alone(result), []
    for case in cases(result):
        found = [line for line in lines if (line.data, line.ood) == case]
        row: Row = {"data": case[0], "out of distribution": case[1], "length alone": length[case]}
        row |= {title: mean_auroc(found, name) for name, title in MAPS.items()}
        rows.append(
            row | {f"FPR@95, {title}": fmean(line.fpr95[name] for line in found) for name, title in MAPS.items()}
        )
    return "AUROC of the energy, mean over pairs of encoders", rows
