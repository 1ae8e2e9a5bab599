"""securealign experiment similarity."""

from __future__ import annotations

from typing import Annotated

import typer

from securealign.cli.options import AsJson, Integers, integers
from securealign.commands import failures, progress
from securealign.lab.cli.experiment.options import (
    ALL,
    ALL_PUBLIC,
    ALL_TASKS,
    TOKENS,
    Encoders,
    MaxTokens,
    Output,
    PublicSets,
    PublicTexts,
    Tasks,
    TestTexts,
    TrainTexts,
    command_line,
    finish,
    task_setting,
)
from securealign.lab.experiments.similarity.figures import figures
from securealign.lab.experiments.similarity.measure import measure
from securealign.lab.experiments.similarity.section import summary
from securealign.lab.experiments.store import Store


def similarity(
    encoders: Encoders = ALL,
    data: Tasks = ALL_TASKS,
    public: PublicSets = ALL_PUBLIC,
    train: TrainTexts = 1000,
    test: TestTexts = 500,
    public_texts: PublicTexts = 2500,
    max_tokens: MaxTokens = TOKENS,
    components: Annotated[str, Integers("--components", "Principal components that SVCCA keeps.")] = "64,128",
    subsamples: Annotated[int, typer.Option(min=1, help="Splits of every corpus, drawn anew.")] = 3,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure how alike encoders see the same texts: linear CKA and SVCCA, with shuffled controls."""
    numbers = sorted(set(integers(components, "--components")))
    with failures(as_json=as_json), progress(enabled=True) as bar:
        setting = task_setting(
            encoders, data, public, max_tokens, output, bar,
            texts={"train": train, "test": test, "public": public_texts},
        )  # fmt: skip
        result = measure(
            setting, Store(), components=numbers, subsamples=subsamples, add_bar=bar, command=command_line()
        )
        finish(result, figures, summary, output, as_json=as_json)
