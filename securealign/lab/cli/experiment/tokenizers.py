"""securealign experiment tokenizers."""

from __future__ import annotations

from typing import Annotated

import typer

from securealign.cli.options import AsJson
from securealign.commands import failures, progress
from securealign.data import load_dataset
from securealign.lab.cli.experiment.options import ALL, Output, at_least_two, check_output, command_line, finish, names
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.store import Store
from securealign.lab.experiments.tokenizers.figures import figures
from securealign.lab.experiments.tokenizers.measure import measure
from securealign.lab.experiments.tokenizers.section import summary

#: Tokenizers of encoders that stand beside those of language models.
_ENCODERS = ("wordllama", "minilm", "mpnet", "e5")


def tokenizers(
    models: Annotated[
        str,
        typer.Option(
            "--models",
            help="Models, separated by commas: built-in names, folders, hub ids, tokenizer.json files; 'all': the "
            "language models and some encoders that are built in.",
        ),
    ] = ALL,
    data: Annotated[str, typer.Option("--data", help="Texts to tokenise: a data set or file.")] = "brown",
    texts: Annotated[int, typer.Option("--texts", min=1, help="Number of texts.")] = 2000,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure how alike tokenizers are, and what the paper's thresholds say of text through the other's head."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        chosen = names(models, "--models") + (_ENCODERS if models == ALL else ())
        at_least_two(chosen, "tokenizers")
        check_output(output)
        drawn = Corpora().draw(load_dataset(data), texts).texts
        result = measure(chosen, drawn, Store(), data=data, add_bar=bar, command=command_line())
        finish(result, figures, summary, output, as_json=as_json)
