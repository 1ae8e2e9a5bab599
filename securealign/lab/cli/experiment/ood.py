"""securealign experiment ood."""

from __future__ import annotations

from typing import Annotated

import typer

from securealign.cli.options import AsJson
from securealign.commands import failures, progress
from securealign.lab.cli.experiment.options import (
    ALL_PUBLIC,
    TOKENS,
    Encoders,
    Map,
    MaxTokens,
    Output,
    PublicSets,
    PublicTexts,
    Tasks,
    TestTexts,
    TrainTexts,
    command_line,
    finish,
    names,
    task_setting,
)
from securealign.lab.experiments.ood.figures import figures
from securealign.lab.experiments.ood.measure import measure
from securealign.lab.experiments.ood.section import summary
from securealign.lab.experiments.store import Store


def ood(
    encoders: Encoders = "mpnet,minilm,e5,smollm2",
    data: Tasks = "20ng,r8,movie,wordnet",
    outside: Annotated[
        str, typer.Option("--ood", help="Tasks whose test texts are out of distribution, separated by commas.")
    ] = "20ng,r8,movie,wordnet,spam",
    public: PublicSets = ALL_PUBLIC,
    train: TrainTexts = 1000,
    test: TestTexts = 500,
    public_texts: PublicTexts = 2500,
    max_tokens: MaxTokens = TOKENS,
    map: Map = "soft",  # noqa: A002 - what users call it
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well a head tells texts that are unlike its task, on its own and on mapped embeddings."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        setting = task_setting(
            encoders, data, public, max_tokens, output, bar,
            texts={"train": train, "test": test, "public": public_texts}, map=map,
        )  # fmt: skip
        result = measure(setting, Store(), names(outside, "--ood"), add_bar=bar, command=command_line())
        finish(result, figures, summary, output, as_json=as_json)
