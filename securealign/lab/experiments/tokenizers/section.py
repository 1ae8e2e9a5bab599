"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from collections import Counter

from securealign.lab.experiments.markdown import command, picture, table
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row
from securealign.lab.measures.tokenizers import EXACT_FAILS, EXACT_NEEDED, EXACT_SUFFICES

_PAPER = (
    "Over the paper's 23 pairs, exact matches predict the quality of generated text with r = 0.898 and the Jaccard "
    f"index with r = 0.822; good text needs exact matches of {EXACT_NEEDED} to {EXACT_SUFFICES} and 4 billion weights, "
    f"and pairs at {EXACT_FAILS} or with less than 2 billion fail. Its Qwen2.5-7B and Llama-3-8B have a Jaccard index "
    "of 0.643 and exact matches of 0.925."
)


def section(result: Result) -> str:
    """Return the section: method, tables, and the verdict of the paper's thresholds."""
    return "\n\n".join(
        [
            "## Tokenizers",
            _method(result),
            command(result.command),
            picture("tokenizers-pairs.svg", "Heat maps of exact token matches and Jaccard index for each pair"),
            _own(result),
            _pairs(result),
            _reading(result),
        ]
    )


def _method(result: Result) -> str:
    return (
        f"{result.settings['texts']:,} texts of {result.settings['data']} under each tokenizer. Exact matches are the "
        "paper's: the share of positions at which both lists of tokens have the same one, where a single token more "
        "shifts all that follow, so that longer texts match less. Aligned are the target's tokens that the source has "
        "too at the same place of the text, and shared boundaries those that end where any token of the source ends: "
        "what a map is fitted on. Tokens and vocabularies are compared as text, however they write spaces. "
        f"{_PAPER}"
    )


def _own(result: Result) -> str:
    lines = [
        [
            row["tokenizer"],
            f"{row['tokens']:,}",
            row["style"],
            "" if row["weights"] is None else f"{row['weights'] / 1e6:,.0f} M",
            f"{row['tokens_per_word']:.2f}",
            f"{row['characters_per_token']:.2f}",
        ]
        for row in result.table("tokenizers")
    ]
    return table(["tokenizer", "tokens", "spaces", "weights", "tokens per word", "characters per token"], lines)


def _pairs(result: Result) -> str:
    lines = [
        [
            f"{row['source']} → {row['target']}",
            f"{row['jaccard']:.3f}",
            f"{row['exact']:.3f}",
            f"{row['aligned']:.3f}",
            f"{row['boundaries']:.3f}",
            row["outlook"],
            row["reason"],
        ]
        for row in result.table("pairs")
    ]
    return table(["source → target", "Jaccard", "exact", "aligned", "boundaries", "outlook", "because"], lines)


def _reading(result: Result) -> str:
    counts = Counter(row["outlook"] for row in result.table("pairs"))
    told = ", ".join(f"{count} {outlook}" for outlook, count in counts.items())
    return f"By the paper's thresholds, of {sum(counts.values())} pairs: {told}."


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal."""
    columns = ("source", "target", "jaccard", "exact", "aligned", "boundaries", "outlook", "reason")
    return "Likeness of tokenizers", [{name: row[name] for name in columns} for row in result.table("pairs")]
