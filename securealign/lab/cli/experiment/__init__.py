"""securealign experiment: the paper's experiments, one command each."""

from __future__ import annotations

import typer

from securealign.lab.cli.experiment import everything, experiments
from securealign.lab.cli.experiment.command import add_experiment

app = typer.Typer(no_args_is_help=True, help="Reproduce the paper's experiments, on its kind of data or on your own.")
for experiment, defaults in experiments.EXPERIMENTS.items():
    add_experiment(app, experiment, defaults)
app.command("all")(everything.run_all)
app.command("page")(everything.write_page)
