"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from securealign.lab.experiments.generation.paper import PAPER, PAPER_PERPLEXITY
from securealign.lab.experiments.generation.prediction import EXACT
from securealign.lab.experiments.generation.tally import named, other_penalty, pairs_of, shuffled, sweep, usual
from securealign.lab.experiments.markdown import command, percent, picture, table
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: Samples of each pair that are shown, good or bad.
SHOWN = 5


def section(result: Result) -> str:
    """Return the section: method, tables, what they say, and texts that the pairs wrote."""
    parts = [
        "## Text through another model's head",
        _method(result),
        command(result.command),
        picture("generation-loss.svg", "Bars: loss of the next token, native and mapped, for each pair of models"),
        _natives(result),
        _scores(result),
        _reading(result),
        picture("generation-depths.svg", "Lines: agreement with the target by the depth of the source's state"),
        _depths(result),
        _likeness(result),
        _questions(result),
        _streaming(result),
        _samples(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _method(result: Result) -> str:
    setting = result.settings
    ends = "that end at the same character" if setting["exact"] else "by the paper's rule"
    return (
        f"Maps are ridge regressions with penalty {setting['ridge']} on up to {setting['pairs']:,} pairs of tokens "
        f"{ends}, from passages of {setting['data']}; they are scored on the tokens of other passages. A text's first "
        f"token is left out: models use its state as an attention sink, whatever it says. {PAPER}"
    )


def _natives(result: Result) -> str:
    lines = [
        [
            row["model"],
            f"{row['parameters'] / 1e6:,.0f} M",
            f"{row['layers']} x {row['dimension']}",
            f"{row['vocabulary']:,}",
            f"{row['nll']:.3f}",
            percent(row["top1"]),
            f"{row['bits_per_character']:.3f}",
        ]
        for row in result.table("models")
    ]
    header = ["model by itself", "weights", "blocks", "tokens", "loss", "top-1, %", "bits per character"]
    return table(header, lines)


def _scores(result: Result) -> str:
    lines = []
    for pair in pairs_of(result):
        for positions in ("paired", EXACT):
            row = usual(result, pair, positions=positions)
            if row is not None and not (positions == EXACT and _all_exact(result, row)):
                lines.append([f"{named(pair)}{', same end' if positions == EXACT else ''}", *_cells(row)])
        control, other = shuffled(result, pair), other_penalty(result, pair)
        if other is not None:
            lines.append([f"{named(pair)}, penalty {other['penalty']}", *_cells(other)])
        if control is not None:
            lines.append([f"{named(pair)}, map shuffled", *_cells(control)])
    header = ["source → target", "positions", "R²", "loss", "mapped", "perplexity", "mapped", "top-1, %", "mapped"]
    return table([*header, "agreement, %"], lines)


def _all_exact(result: Result, exact: Row) -> bool:
    every = usual(result, (exact["source"], exact["target"]))
    return every is not None and every["count"] == exact["count"]


def _cells(row: Row) -> list[str]:
    return [
        f"{row['count']:,}",
        f"{row['r2']:.3f}",
        f"{row['nll_native']:.3f}",
        f"{row['nll_mapped']:.3f}",
        f"{row['perplexity_native']:,.1f}",
        f"{row['perplexity_mapped']:,.1f}",
        percent(row["top1_native"]),
        percent(row["top1_mapped"]),
        percent(row["agreement"]),
    ]


def _reading(result: Result) -> str:
    return "\n".join(f"- {line}" for line in _findings(result))


def _findings(result: Result) -> Iterator[str]:
    for pair in pairs_of(result):
        row = usual(result, pair)
        if row is None:
            continue
        worse = row["perplexity_mapped"] / row["perplexity_native"] - 1
        yield (
            f"{named(pair)}: the map explains {percent(row['r2'])}% of the target's states, perplexity changes by "
            f"{worse * 100:+.0f}% (the paper: {PAPER_PERPLEXITY * 100:+.0f}% for models of 7 to 8 billion weights), "
            f"and the first guess is the target's own in {percent(row['agreement'])}% of places."
        )
    controls = [row for pair in pairs_of(result) if (row := shuffled(result, pair)) is not None]
    if controls:
        yield (
            f"With the rows of the map shuffled, agreement is {percent(min(row['agreement'] for row in controls))}% to "
            f"{percent(max(row['agreement'] for row in controls))}%."
        )


def _depths(result: Result) -> str:
    lines = []
    for pair in pairs_of(result):
        like = {row["depth"]: row for row in sweep(result, pair, like=True)}
        for row in sweep(result, pair, like=False):
            same = like.get(row["depth"])
            lines.append(
                [
                    named(pair),
                    row["depth"],
                    f"{row['r2']:.3f}",
                    f"{row['nll_mapped']:.3f}",
                    percent(row["agreement"]),
                    *([f"{same['nll_mapped']:.3f}", percent(same["agreement"])] if same else ["", ""]),
                ]
            )
    header = ["source → target", "depth", "R²", "loss", "agreement, %", "loss, same depth", "agreement, %"]
    return (
        "By the depth of the source's state, onto the state that the target's head reads; in the last two columns onto "
        "the target's state of the same depth, which its norm and head then read as if it were the last:\n\n"
        f"{table(header, lines, left=2)}"
    )


def _likeness(result: Result) -> str:
    rows = result.table("likeness")
    if not rows:
        return ""
    columns = ["to_source", "to_source_other_prompt", "to_target", "to_target_other_prompt", "natives"]
    lines = [
        [named((row["source"], row["target"])), *(_number(row[column]) for column in columns), str(row["loops"])]
        for row in rows
    ]
    header = ["source → target", "to source", "other prompt", "to target", "other prompt", "source to target", "loops"]
    return (
        f"Mean cosine between embeddings ({rows[0]['encoder']}) of what pairs and natives write greedily from "
        f"{rows[0]['prompts']} prompts, at most {result.settings['max_new_tokens']} tokens; beside it the same for "
        f"texts from other prompts, as a control. A loop is a text that ended because it repeated itself:\n\n"
        f"{table(header, lines)}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _questions(result: Result) -> str:
    rows = result.table("questions")
    if not rows:
        return ""
    lines = [
        [
            named((row["source"], row["target"])),
            f"{row['answered']} of {row['questions']}",
            percent(row["written"]),
            percent(row["likeliest"]),
            percent(row["chance"]),
        ]
        for row in rows
    ]
    error = 100 * (0.25 * 0.75 / rows[0]["questions"]) ** 0.5
    return (
        f"Multiple choice ({result.settings['question_data']}): a letter written within the first tokens, and the "
        f"likeliest of the letters. By chance alone a share varies by {error:.1f} points (one standard deviation):\n\n"
        + table(["source → target", "letters", "right, %", "likeliest right, %", "chance, %"], lines)
    )


def _streaming(result: Result) -> str:
    rows = result.table("streaming")
    if not rows:
        return ""
    lines = [
        [f"{row['pairs']:,}", str(row["dimension"]), f"{row['peak_bytes'] / (1 << 20):,.0f}", f"{row['seconds']:.0f}"]
        for row in rows
    ]
    return "Memory of a fit alone:\n\n" + table(["pairs", "dimension", "peak, MiB", "seconds"], lines, left=0)


def _samples(result: Result) -> str:
    lines = []
    speakers = dict.fromkeys((row["source"], row["target"]) for row in result.table("texts"))
    for pair in speakers:
        rows = [row for row in result.table("texts") if (row["source"], row["target"]) == pair]
        lines += [[named(pair), row["prompt"], row["text"].strip(), row["end"]] for row in rows[:SHOWN]]
    if not lines:
        return ""
    return f"The first {SHOWN} texts of each, good or bad:\n\n" + table(
        ["source → target", "prompt", "text", "ended by"], lines, left=4
    )


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: the usual map of each pair."""
    rows: list[Row] = []
    for pair in pairs_of(result):
        row = usual(result, pair)
        if row is not None:
            rows.append(
                {
                    "pair": named(pair),
                    "R2": row["r2"],
                    "loss": row["nll_native"],
                    "loss, mapped": row["nll_mapped"],
                    "top-1": row["top1_native"],
                    "top-1, mapped": row["top1_mapped"],
                    "agreement": row["agreement"],
                }
            )
    return "Next token through the target's head", rows
