"""Jaccard index, exact matches and verdict of every pair of tokenizers, and the fertility of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import permutations
from typing import Any

from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.run import Cell, Run
from securealign.lab.experiments.store import Row
from securealign.lab.experiments.tokenizers.loading import NamedTokenizer, open_tokenizer
from securealign.lab.measures.tokenizers import fertility, jaccard, match_tokens, verdict


def measure(
    run: Run,
    names: Sequence[str],
    texts: Sequence[str],
    *,
    data: str,
    opener: Callable[[str], NamedTokenizer] = open_tokenizer,
) -> dict[str, Any]:
    """Return the likeness of all ordered pairs of tokenizers on texts; raises `InputError` when two share a name."""
    opened = [opener(name) for name in names]
    if len({one.name for one in opened}) < len(opened):
        raise InputError(
            "Two tokenizers have the same name.", hint="Name each once; put files into folders of their own."
        )
    digest = dataset_digest(texts).hex()
    run.measure("tokenizers", [partial(_own, one, texts, digest) for one in opened])
    run.measure("pairs of tokenizers", [partial(_pair, *pair, texts, digest) for pair in permutations(opened, 2)])
    by_name = {one.name: one for one in opened}
    for row in run.tables["pairs"]:
        judged = verdict(row["exact"], _smaller(by_name[row["source"]], by_name[row["target"]]))
        row |= {"outlook": judged.outlook.value, "reason": judged.reason}
    for row in run.tables["tokenizers"]:
        row["weights"] = by_name[row["tokenizer"]].parameters
    return {"tokenizers": list(by_name), "data": data, "texts": len(texts)}


def _own(one: NamedTokenizer, texts: Sequence[str], digest: str) -> Iterator[Cell]:
    def compute() -> list[Row]:
        found = fertility(texts, one.tokenize(texts))
        return [{"tokens": one.tokenizer.get_vocab_size(), "style": one.style.value, **found._asdict()}]

    key = {"tokenizer": one.fingerprint, "texts": digest}
    yield Cell(table="tokenizers", names={"tokenizer": one.name}, key=key, compute=compute, kept="")


def _pair(source: NamedTokenizer, target: NamedTokenizer, texts: Sequence[str], digest: str) -> Iterator[Cell]:
    def compute() -> list[Row]:
        found = match_tokens(target.tokenize(texts), source.tokenize(texts))
        return [
            {
                "jaccard": jaccard(source.vocabulary, target.vocabulary),
                "exact": found.exact_rate,
                "aligned": found.aligned_rate,
                "boundaries": found.boundary_rate,
                "positions": found.positions,
            }
        ]

    key = {"source": source.fingerprint, "target": target.fingerprint, "texts": digest}
    names = {"source": source.name, "target": target.name}
    yield Cell(table="pairs", names=names, key=key, compute=compute, kept="")


def _smaller(source: NamedTokenizer, target: NamedTokenizer) -> int | None:
    known = [one.parameters for one in (source, target) if one.parameters is not None]
    return min(known) if known else None
