"""securealign experiment leakage."""

from __future__ import annotations

from typing import Annotated

from securealign.cli.options import AsJson, Integers, integers
from securealign.commands import failures, progress
from securealign.lab.cli.experiment.options import (
    ALL,
    ALL_PUBLIC,
    TOKENS,
    Encoders,
    Map,
    MaxTokens,
    Output,
    PublicSets,
    PublicTexts,
    Seeds,
    Tasks,
    TestTexts,
    command_line,
    finish,
    task_setting,
)
from securealign.lab.experiments.leakage.figures import figures
from securealign.lab.experiments.leakage.measure import measure
from securealign.lab.experiments.leakage.section import summary
from securealign.lab.experiments.store import Store


def leakage(
    encoders: Encoders = ALL,
    data: Tasks = "20ng,r8,movie,wordnet",
    public: PublicSets = ALL_PUBLIC,
    test: TestTexts = 500,
    public_texts: PublicTexts = 2500,
    max_tokens: MaxTokens = TOKENS,
    rows: Annotated[
        str, Integers("--rows", "Public rows that maps are fitted on, to be compared.")
    ] = "250,500,1000,2000",
    seeds: Seeds = 3,
    map: Map = "soft",  # noqa: A002 - what users call it
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure what an alignment tells of the provider's embeddings, and mapped embeddings of the client's texts."""
    sizes = integers(rows, "--rows")
    with failures(as_json=as_json), progress(enabled=True) as bar:
        setting = task_setting(
            encoders, data, public, max_tokens, output, bar,
            texts={"test": test, "public": public_texts}, seeds=seeds, map=map,
        )  # fmt: skip
        result = measure(setting, Store(), sizes=sizes, add_bar=bar, command=command_line())
        finish(result, figures, summary, output, as_json=as_json)
