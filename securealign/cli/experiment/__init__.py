"""securealign experiment: the paper's experiments, one command each."""

from __future__ import annotations

import typer

from securealign.cli.experiment import classification, everything, leakage, membership, ood, similarity

app = typer.Typer(no_args_is_help=True, help="Reproduce the paper's experiments, on its kind of data or on your own.")
app.command("classification")(classification.classification)
app.command("membership")(membership.membership)
app.command("similarity")(similarity.similarity)
app.command("ood")(ood.ood)
app.command("leakage")(leakage.leakage)
app.command("all")(everything.run_all)
app.command("page")(everything.write_page)
