"""The command `securealign`: one module for each group of subcommands."""

from __future__ import annotations

import typer

from securealign.cli import audit, certs, data, doctor, head, keys, suites
from securealign.commands import show_steps
from securealign.harness.cli import bench, plan, replay, report, simulate
from securealign.lab.cli import chat, compat, experiment

app = typer.Typer(
    name="securealign",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Use one organisation's classifier on another's embeddings, under encryption. The parties themselves run as "
    "securealign-provider and securealign-client.",
)
app.command("chat")(chat.chat)
app.command("compat")(compat.compat)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.show)
app.command("replay")(replay.replay)
app.command("report")(report.report)
app.command("suites")(suites.show)
app.command("simulate")(simulate.simulate)
app.add_typer(audit.app, name="audit")
app.add_typer(bench.app, name="bench")
app.add_typer(certs.app, name="certs")
app.add_typer(experiment.app, name="experiment")
app.add_typer(head.app, name="head")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command line."""
    show_steps()
    app()
