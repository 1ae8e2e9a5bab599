"""Jaccard index, exact matches and verdict of every pair of tokenizers, and the fertility of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from typing import Any

from securealign.commands import counted
from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.embeddings import AddBar, no_bars
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row, Store
from securealign.lab.experiments.tokenizers.loading import NamedTokenizer, open_tokenizer
from securealign.lab.measures.tokenizers import fertility, jaccard, match_tokens, verdict

NAME = "tokenizers"


def measure(
    names: Sequence[str],
    texts: Sequence[str],
    store: Store,
    *,
    data: str,
    opener: Callable[[str], NamedTokenizer] = open_tokenizer,
    add_bar: AddBar = no_bars,
    command: str = "",
) -> Result:
    """Return the likeness of all ordered pairs of tokenizers on texts; raises `InputError` when two share a name."""
    opened = [opener(name) for name in names]
    if len({one.name for one in opened}) < len(opened):
        raise InputError(
            "Two tokenizers have the same name.", hint="Name each once; put files into folders of their own."
        )
    digest = dataset_digest(texts).hex()

    def kept(key: dict[str, Any], compute: Callable[[], Row]) -> Row:
        return store.rows(NAME, {**key, "texts": digest}, lambda: [compute()])[0]

    report = add_bar("pairs of tokenizers")
    own = [
        {
            "tokenizer": one.name,
            **kept({"tokenizer": one.fingerprint}, partial(_own, one, texts)),
            "weights": one.parameters,
        }
        for one in opened
    ]
    rows = []
    for source, target in counted(list(permutations(opened, 2)), report):
        key = {"source": source.fingerprint, "target": target.fingerprint}
        found = kept(key, partial(_pair, source, target, texts))
        judged = verdict(found["exact"], _smaller(source, target))
        told = {"outlook": judged.outlook.value, "reason": judged.reason}
        rows.append({"source": source.name, "target": target.name, **found, **told})
    tables = {"tokenizers": own, "pairs": rows}
    settings = {"tokenizers": [one.name for one in opened], "data": data, "texts": len(texts)}
    return Result(experiment=NAME, settings=settings, tables=tables, command=command)


def _own(one: NamedTokenizer, texts: Sequence[str]) -> Row:
    found = fertility(texts, one.tokenize(texts))
    return {
        "tokens": one.tokenizer.get_vocab_size(),
        "style": one.style.value,
        "tokens_per_word": found.tokens_per_word,
        "characters_per_token": found.characters_per_token,
    }


def _pair(source: NamedTokenizer, target: NamedTokenizer, texts: Sequence[str]) -> Row:
    found = match_tokens(target.tokenize(texts), source.tokenize(texts))
    return {
        "jaccard": jaccard(source.vocabulary, target.vocabulary),
        "exact": found.exact_rate,
        "aligned": found.aligned_rate,
        "boundaries": found.boundary_rate,
        "positions": found.positions,
    }


def _smaller(source: NamedTokenizer, target: NamedTokenizer) -> int | None:
    known = [one.parameters for one in (source, target) if one.parameters is not None]
    return min(known) if known else None
