"""securealign experiment: the paper's experiments, one command each."""

import typer

from securealign.lab.cli.experiment import command, experiments

app = typer.Typer(no_args_is_help=True, help="Reproduce the paper's experiments, on its kind of data or on your own.")
for experiment, defaults in experiments.EXPERIMENTS.items():
    command.add_experiment(app, experiment, defaults)
app.command("all")(command.run_all)
app.command("page")(command.write_page)
