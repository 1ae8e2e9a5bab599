"""securealign plan: what a run will cost, without running it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.margins import expected_uncertain_share, precision_warning
from securealign.commands import AsJson, failures, progress, table_console
from securealign.errors import ConfigurationError
from securealign.harness.cli.options import (
    Batch,
    Classes,
    ClientFactor,
    DimA,
    DimB,
    Networks,
    Outputs,
    ProviderFactor,
    RunSuites,
    Samples,
    Seed,
    selected,
    titled,
)
from securealign.harness.planning.planner import USUAL_R2, CostForecast, Workload, plan
from securealign.harness.planning.speeds import speeds_of
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
    suite: RunSuites = DEFAULT_SUITE,
    network: Networks = "wan",
    samples: Samples = 10_000,
    dim_a: DimA = 768,
    dim_b: DimB = 768,
    classes: Classes = 20,
    queries: Annotated[int, typer.Option(min=1, help="Queries to classify.")] = 1000,
    batch: Batch = 64,
    output: Outputs = "logits",
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
    seed: Seed = 0,
    client_factor: ClientFactor = 1.0,
    provider_factor: ProviderFactor = 1.0,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Time this machine anew.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell bytes, seconds, memory, precision, security and what leaks of a run, without running it.

    The first time, this machine is timed for some seconds; a plan is for two machines like it, or as factors say.
    """
    with failures(as_json=as_json), progress(enabled=True) as bar:
        names, networks = selected(suite), find_networks(network)
        if (head is None) != (embeddings is None):
            raise ConfigurationError(
                "How sure labels will be depends on a head and on embeddings.", hint="Give --head with --embeddings."
            )
        margins = None if head is None or embeddings is None else _Margins.load(head, embeddings)
        if margins is not None:
            dim_a, classes = margins.head.weight.shape
        workload = Workload(
            samples=samples,
            dim_a=dim_a,
            dim_b=dim_b,
            classes=classes,
            queries=queries,
            batch=batch,
            pool_slots=pool_slots,
            explained=explained,
            output=output,
        )
        plans = []
        for name in names:
            chosen = get_suite(name)
            speeds = speeds_of(chosen, progress=bar(f"timing {name} on this machine"), renew=calibrate)
            for link in networks:
                conditions = Conditions(
                    network=link, seed=seed, client_factor=client_factor, provider_factor=provider_factor
                )
                plans.append(plan(chosen, speeds, workload, conditions))
    if as_json:
        described = [one.as_dict() for one in plans]
        if margins is not None:
            for one, fields in zip(plans, described, strict=True):
                fields["inference"]["uncertain_share"] = margins.uncertain(one)
        typer.echo(json.dumps({"plans": described} if len(described) > 1 else described[0]))
        return
    console = table_console()
    console.print(_table(workload, plans))
    _explain(console, plans)
    if margins is not None:
        for one in plans[:: len(networks)]:
            share = margins.uncertain(one)
            text = precision_warning(share) or f"{share:.2%} of the labels would be within the error of encryption."
            console.print(f"{one.suite.parameter_set}: {text}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Margins:
    """The provider's head and public embeddings (n, d_A) in private coordinates."""

    head: LinearHead
    rows: FloatMatrix

    @classmethod
    def load(cls, head: Path, embeddings: Path) -> _Margins:
        """Read both; raises `InputError` when they do not belong together."""
        rows = Rows(load_embeddings(embeddings), name=str(embeddings))
        space = Space.of(rows)
        return cls(space.fold(LinearHead.from_pretrained(head)), space.rows(rows).block(0, _MARGIN_ROWS))

    def uncertain(self, planned: CostForecast) -> float:
        """Return the share of labels that the error of a suite would make uncertain."""
        return expected_uncertain_share(self.head, self.rows, planned.inference.relative_error)


#: A figure of a plan, and how it is written.
Line = tuple[str, Callable[[CostForecast], str]]


def _lines(workload: Workload) -> list[Line]:
    def milliseconds(one: CostForecast) -> str:
        return brief(one.inference.stats.total_seconds * 1000 / workload.queries)

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
        ("  each query, ms", milliseconds),
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
    table = titled(title, "", *(f"{one.suite.parameter_set}\n{one.network}" for one in plans))
    for label, figure in _lines(workload):
        table.add_row(label, *(figure(one) for one in plans))
    return table


def _sessions(leak: Mapping[str, float]) -> str:
    """Return how many training sessions the public texts allow, in words."""
    sessions = leak["sessions_allowed"]
    if sessions:
        return f"enough for {sessions:,.0f} session{'s' if sessions > 1 else ''}"
    return f"too few, {leak['samples_needed']:,.0f} texts allow one session"


def _forged(one: CostForecast) -> str:
    """Say what an answer shows whatever key and query the client sends."""
    each, slots = one.leak["query_bits"], one.workload.pool_slots
    shown = f"an answer holds {each:,.0f} bits"
    if not one.suite.function_private:
        return f"{shown} in its logits; what its errors show of the head beside them is not counted."
    bound = f"whatever key the client sends, {shown} of the head at most"
    forged = one.inference.forged_key
    if not forged:
        return f"{bound}: its label and levels of confidence."
    return (
        f"{bound}. After {slots:,} slots of one pool, reading more from it takes 2^{int(forged['classical_bits'])} "
        f"operations (core-SVP 2^{int(forged['core_svp_bits'])}): an estimate, not a proof."
    )


def _explain(console: Console, plans: Sequence[CostForecast]) -> None:
    """Say in words what the client learns: what no suite changes, then what a forged key reads under each suite."""
    leak, workload = plans[0].leak, plans[0].workload
    rank, share, head = leak["rank"], leak["rank_over_samples"], workload.dim_a + 1
    lines = [
        f"The client learns {rank:,.0f} directions of {workload.samples:,} rows: {share:.1%} of the provider's public "
        f"embeddings if the encoders have nothing in common, {workload.explained:.0%} if the map explains as much.",
        f"A training session is charged {leak['rank_charge']:,.0f} of {leak['rank_allowance']:,.0f} that "
        f"{workload.samples:,} texts allow a client under the default max_rank_fraction: {_sessions(leak)}. "
        "Charges over other data sets count for the texts that both share, and so does what [privacy] allows.",
        f"Its answers hold {leak['answer_bits']:,.0f} bits at most; {head:,} queries that are answered in logits "
        f"determine the head, and these are {leak['queries_over_head']:.2g} times as many"
        + (", answered in labels alone." if workload.output == "label" else "."),
        "The error of the map is expected, and relative to what it makes of the public rows.",
        *{f"{one.suite.parameter_set}: {_forged(one)}": None for one in plans},
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
