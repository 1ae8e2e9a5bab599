"""securealign plan: what a run will cost, without running it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.margins import expected_uncertain_share, precision_warning
from securealign.commands import AsJson, failures, progress, table_console
from securealign.errors import ConfigurationError
from securealign.harness.cli import options
from securealign.harness.planning.planner import USUAL_R2, CostForecast, Workload, plan
from securealign.harness.planning.speeds import speeds_of
from securealign.harness.report.templating import environment
from securealign.harness.report.units import brief
from securealign.harness.simulation.networks import find_networks
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import DEFAULT_SUITE, get_suite
from securealign.matrices import FloatMatrix, Rows
from securealign.models.precomputed import load_embeddings

_MIB = 1 << 20
#: Embeddings whose margins are measured.
_MARGIN_ROWS = 1000


def show(
    suite: options.RunSuites = DEFAULT_SUITE,
    network: options.Networks = "wan",
    samples: options.Samples = 10_000,
    dim_a: options.DimA = 768,
    dim_b: options.DimB = 768,
    classes: options.Classes = 20,
    queries: Annotated[int, typer.Option(min=1, help="Queries to classify.")] = 1000,
    batch: options.Batch = 64,
    output: options.Outputs = "logits",
    pool_slots: Annotated[int, typer.Option(min=1, help="Queries prepared at a time.")] = 64,
    explained: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the provider's embeddings that the map will explain.")
    ] = USUAL_R2,
    head: Annotated[
        Path | None,
        typer.Option(help="The provider's head: also say how many labels encryption would make uncertain."),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="For --head: the provider's embeddings of public texts, as for its [public].")
    ] = None,
    seed: options.Seed = 0,
    client_factor: options.ClientFactor = 1.0,
    provider_factor: options.ProviderFactor = 1.0,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Time this machine anew.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell bytes, seconds, memory, precision, security and what leaks of a run, without running it.

    The first time, this machine is timed for some seconds; a plan is for two machines like it, or as factors say.
    """
    with failures(as_json=as_json), progress(enabled=True) as bar:
        names, networks = options.selected(suite), find_networks(network)
        if (head is None) != (embeddings is None):
            raise ConfigurationError(
                "How sure labels will be depends on a head and on embeddings.", hint="Give --head with --embeddings."
            )
        margins = None if head is None or embeddings is None else _margins(head, embeddings)
        if margins is not None:
            dim_a, classes = margins[0].weight.shape
        sizes = {"samples": samples, "dim_a": dim_a, "dim_b": dim_b, "classes": classes, "queries": queries}
        pools = {"batch": batch, "pool_slots": pool_slots}
        workload = Workload(**sizes, **pools, explained=explained, output=output)
        machines: dict[str, Any] = {"seed": seed, "client_factor": client_factor, "provider_factor": provider_factor}
        plans = []
        for name in names:
            chosen = get_suite(name)
            speeds = speeds_of(chosen, progress=bar(f"timing {name} on this machine"), renew=calibrate)
            plans += [plan(chosen, speeds, workload, Conditions(network=link, **machines)) for link in networks]
    # The shares of labels that the errors of the suites would make uncertain.
    shares = [expected_uncertain_share(*margins, one.inference.relative_error) for one in plans] if margins else []
    if as_json:
        described = [one.as_dict() for one in plans]
        for fields, share in zip(described, shares, strict=False):
            fields["inference"]["uncertain_share"] = share
        typer.echo(json.dumps({"plans": described} if len(described) > 1 else described[0]))
        return
    console = table_console()
    console.print(_table(workload, plans))
    sentences = environment(__package__).get_template("plan.txt").render(plans=plans).splitlines()
    for sentence in dict.fromkeys(sentences):  # what holds over every network is said once
        console.print(sentence, highlight=False, soft_wrap=True)
    for name, share in zip(names, shares[:: len(networks)], strict=False):
        text = precision_warning(share) or f"{share:.2%} of the labels would be within the error of encryption."
        console.print(f"{get_suite(name).info.parameter_set}: {text}", highlight=False, soft_wrap=True)


def _margins(head: Path, embeddings: Path) -> tuple[LinearHead, FloatMatrix]:
    """Read the provider's head and public embeddings (n, d_A), in private coordinates; raises `InputError`."""
    rows = Rows(load_embeddings(embeddings), name=str(embeddings))
    space = Space.of(rows)
    return space.fold(LinearHead.from_pretrained(head)), space.rows(rows).block(0, _MARGIN_ROWS)


def _lines(workload: Workload) -> list[tuple[str, Callable[[CostForecast], str]]]:
    """Return the figures of a plan, by name, and how each is written."""

    def bytes_each(one: CostForecast) -> str:
        online = one.inference.stats.phases["online"]
        return brief((online.bytes_up + online.bytes_down) / 1000 / workload.queries)

    return [
        ("training, s", lambda one: brief(one.training.stats.total_seconds)),
        ("  of client", lambda one: brief(one.training.stats.client_seconds)),
        ("  of provider", lambda one: brief(one.training.stats.provider_seconds)),
        ("  on the network", lambda one: brief(one.training.stats.network_seconds)),
        ("  sent by client, MB", lambda one: brief(one.training.stats.bytes_up / 1e6)),
        ("  sent by provider, MB", lambda one: brief(one.training.stats.bytes_down / 1e6)),
        ("  memory of client, MiB", lambda one: brief(one.training.client_memory / _MIB)),
        ("  memory of provider, MiB", lambda one: brief(one.training.provider_memory / _MIB)),
        ("  error of the map", lambda one: brief(one.map_error)),
        ("all queries, s", lambda one: brief(one.inference.stats.total_seconds)),
        ("  each query, ms", lambda one: brief(one.inference.stats.total_seconds * 1000 / workload.queries)),
        ("  each query online, KB", bytes_each),
        ("  sent in all, MB", lambda one: brief((one.inference.stats.bytes_up + one.inference.stats.bytes_down) / 1e6)),
        ("  memory of provider, MiB", lambda one: brief(one.inference.provider_memory / _MIB)),
        ("  error of a logit", lambda one: brief(one.inference.relative_error)),
        ("security, bits", lambda one: str(one.suite.classical_bits)),
        ("  against quantum", lambda one: str(one.suite.quantum_bits or "-")),
        ("  hides the head", lambda one: "yes" if one.suite.function_private else "no"),
    ]


def _table(workload: Workload, plans: Sequence[CostForecast]) -> Table:
    title = (
        f"training: {workload.samples:,} public rows, {workload.dim_b} -> {workload.dim_a} dimensions\n"
        f"inference: {workload.queries:,} queries, {workload.batch} in a round trip, {workload.classes} classes"
    )
    table = options.titled(title, "", *(f"{one.suite.parameter_set}\n{one.network}" for one in plans))
    for label, figure in _lines(workload):
        table.add_row(label, *(figure(one) for one in plans))
    return table
