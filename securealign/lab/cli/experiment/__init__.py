"""securealign experiment: the paper's experiments, one command each."""

from __future__ import annotations

import typer

from securealign.lab.cli.experiment import (
    classification,
    everything,
    generation,
    leakage,
    membership,
    ood,
    similarity,
    tokenizers,
)

app = typer.Typer(no_args_is_help=True, help="Reproduce the paper's experiments, on its kind of data or on your own.")
app.command("similarity")(similarity.similarity)
app.command("classification")(classification.classification)
app.command("ood")(ood.ood)
app.command("tokenizers")(tokenizers.tokenizers)
app.command("generation")(generation.generation)
app.command("membership")(membership.membership)
app.command("leakage")(leakage.leakage)
app.command("all")(everything.run_all)
app.command("page")(everything.write_page)
