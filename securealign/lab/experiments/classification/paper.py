"""The paper's numbers that this experiment stands beside."""

from __future__ import annotations

from securealign.lab.experiments.markdown import table

#: Accuracy that the paper's maps lose at most (Table 1).
MAX_LOSS = 0.06

#: Data, target <- source, the provider's own accuracy and the mapped one.
_TABLE_1 = (
    ("AG News", "Gemini <- OpenAI", "92.6 → 91.6"),
    ("AG News", "Mistral <- Qwen", "92.6 → 92.4"),
    ("TREC", "OpenAI <- Qwen", "96.0 → 95.6"),
    ("TREC", "Cohere <- Gemini", "97.0 → 91.2"),
    ("SST-2", "Gemini <- OpenAI", "94.5 → 93.1"),
    ("DBpedia", "OpenAI <- Qwen", "99.0 → 98.7"),
    ("IMDB", "Gemini <- OpenAI", "94.9 → 95.9"),
)
#: Tables 2 and 6: data, target <- source, full, shots alone, public, public with shots.
_TABLE_2 = (
    ("AG News", "OpenAI <- Qwen", "92.7", "77.3 / 80.0 / 87.1", "79.7", "87.9 / 88.6 / 89.2"),
    ("TREC", "Mistral <- Qwen", "96.6", "48.2 / 59.4 / 82.2", "65.6", "79.4 / 83.8 / 87.4"),
    ("DBpedia", "Mistral <- Qwen", "99.2", "54.4 / 72.9 / 93.2", "79.6", "91.1 / 93.6 / 96.5"),
    ("IMDB", "Gemini <- OpenAI", "96.4", "90.3 / 90.9 / 91.5", "94.7", "94.6 / 94.8 / 95.0"),
)


def table_1() -> str:
    """Return the paper's Table 1."""
    return table(["data", "target <- source", "accuracy"], _TABLE_1, left=2)


def table_2() -> str:
    """Return rows of the paper's Tables 2 and 6."""
    header = ["data", "target <- source", "full", "alone 32 / 64 / 128", "public", "public+32 / +64 / +128"]
    return table(header, _TABLE_2, left=2)
