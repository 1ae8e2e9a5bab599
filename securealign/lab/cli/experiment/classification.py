"""securealign experiment classification."""

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
    Map,
    MaxTokens,
    Output,
    PublicSets,
    PublicTexts,
    Seeds,
    Tasks,
    TestTexts,
    TrainTexts,
    command_line,
    finish,
    task_setting,
)
from securealign.lab.experiments.classification.figures import figures
from securealign.lab.experiments.classification.measure import measure
from securealign.lab.experiments.classification.section import summary
from securealign.lab.experiments.store import Store


def classification(
    encoders: Encoders = ALL,
    data: Tasks = ALL_TASKS,
    public: PublicSets = ALL_PUBLIC,
    train: TrainTexts = 1000,
    test: TestTexts = 500,
    public_texts: PublicTexts = 2500,
    max_tokens: MaxTokens = TOKENS,
    shots: Annotated[str, Integers("--shots", "Labelled texts that are shared, to be compared.")] = "32,64,128",
    seeds: Seeds = 3,
    rivals: Annotated[
        str, typer.Option("--rivals", help="Encoders whose pairs are also given other kinds of map; '' for none.")
    ] = "mpnet,minilm,e5,smollm2",
    encrypted: Annotated[
        str, typer.Option("--encrypted", help="CLIENT:PROVIDER, the pair to run under encryption too; '' for none.")
    ] = "mpnet:minilm",
    suite: Annotated[str, typer.Option("--suite", help="Suite of the pair under encryption.")] = "lwe",
    map: Map = "soft",  # noqa: A002 - what users call it
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure heads on mapped embeddings: all pairs, all tasks, maps from public texts and from the task's."""
    numbers = tuple(integers(shots, "--shots"))
    with failures(as_json=as_json), progress(enabled=True) as bar:
        setting = task_setting(
            encoders, data, public, max_tokens, output, bar,
            texts={"train": train, "test": test, "public": public_texts},
            shots=numbers, seeds=seeds, rivals=tuple(rivals.split(",")), map=map,
        )  # fmt: skip
        pair = tuple(encrypted.split(":")) if encrypted else ()
        wanted = (pair[0], pair[1]) if len(pair) == 2 and set(pair) <= set(setting.encoders) else None
        result = measure(setting, Store(), encrypted_pair=wanted, suite=suite, add_bar=bar, command=command_line())
        finish(result, figures, summary, output, as_json=as_json)
