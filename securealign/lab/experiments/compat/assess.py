"""All that is known of a pair, in one object."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from securealign.commands import Progress
from securealign.harness.planning import Workload, plan, speeds_of
from securealign.harness.planning.planner import USUAL_R2
from securealign.harness.simulation.networks import find_network
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import get_suite
from securealign.lab.experiments.compat.evidence import (
    Evidence,
    ExpectedLoss,
    Likeness,
    evidence,
    expected_loss,
    likeness,
)
from securealign.lab.experiments.compat.probes import Probe, as_row, cluster_probes, labelled_probes, public_labels
from securealign.lab.experiments.compat.rules import Recommendation, recommend
from securealign.lab.experiments.compat.setting import CompatConfig, Side, usual_least
from securealign.lab.experiments.compat.tokens import Tokens, tokens
from securealign.lab.experiments.corpora import AddBar, no_bars
from securealign.lab.experiments.run import Store

#: Queries in a round trip.
_BATCH = 64
#: Below this, what the map explains says nothing about its numerical error.
_LEAST_R2 = 0.01


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How the pair would be used: over which network, under which suite, for how many queries and classes."""

    network: str = "wan"
    suite: str = "lwe"
    queries: int = 1000
    classes: int = 20

    def check(self) -> None:
        """Raise now what planning would raise at the end: an unknown network or suite."""
        find_network(self.network)
        get_suite(self.suite)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds, bytes and memory of both phases, for the public texts that were used."""

    suite: str
    security_bits: int
    hides_head: bool
    network: str
    rows: int
    queries: int
    classes: int
    training_seconds: float
    client_seconds: float
    provider_seconds: float
    bytes_up: int
    bytes_down: int
    client_memory: int
    provider_memory: int
    query_seconds: float
    #: Of a query that is on its way, without what is sent ahead of time.
    query_bytes: float
    #: Of a query, with what is sent ahead of time.
    query_bytes_all: float
    #: Queries that determine the head, d_A + 1.
    queries_for_head: int
    #: Share of the provider's public embeddings that two unrelated encoders would show, (d_B + 1) / N.
    shown_at_least: float


def cost(setting: CompatConfig, usage: Usage, r2: float, progress: Progress) -> Cost:
    """Return what a run would cost; the first time, this machine is timed for some seconds."""
    suite = get_suite(usage.suite)
    workload = Workload(
        samples=len(setting.public.data),
        dim_a=setting.provider.dimension,
        dim_b=setting.client.dimension,
        classes=usage.classes,
        queries=usage.queries,
        batch=_BATCH,
        explained=r2 if r2 > _LEAST_R2 else USUAL_R2,
    )
    conditions = Conditions(network=find_network(usage.network))
    planned = plan(suite, speeds_of(suite, progress=progress), workload, conditions)
    training, inference = planned.training, planned.inference
    online = inference.stats.phases["online"]
    return Cost(
        suite=planned.suite.parameter_set,
        security_bits=planned.suite.classical_bits,
        hides_head=planned.suite.function_private,
        network=planned.network,
        rows=workload.samples,
        queries=workload.queries,
        classes=workload.classes,
        training_seconds=training.stats.total_seconds,
        client_seconds=training.stats.client_seconds,
        provider_seconds=training.stats.provider_seconds,
        bytes_up=training.stats.bytes_up,
        bytes_down=training.stats.bytes_down,
        client_memory=max(training.client_memory, inference.client_memory),
        provider_memory=max(training.provider_memory, inference.provider_memory),
        query_seconds=inference.stats.total_seconds / workload.queries,
        query_bytes=(online.bytes_up + online.bytes_down) / workload.queries,
        query_bytes_all=(inference.stats.bytes_up + inference.stats.bytes_down) / workload.queries,
        queries_for_head=workload.dim_a + 1,
        shown_at_least=planned.leak["rank_over_samples"],
    )


@dataclass(frozen=True, kw_only=True)
class Party:
    """A side as it is shown."""

    name: str
    dimension: int
    fingerprint: str
    encodes: bool


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Two encoders, what was measured of them, what it will cost, and what to do."""

    client: Party
    provider: Party
    public_name: str
    public_digest: str
    in_file: int
    rows: int
    held: int
    #: Public texts that a provider's usual policy asks for.
    least_rows: int
    train: int
    test: int
    shots: int
    seeds: int
    max_tokens: int
    #: Kind of map that was tried, and the one beside it.
    map: str
    other_map: str
    likeness: Likeness
    probes: list[Probe]
    labels: list[Probe]
    clusters: list[Probe]
    loss: ExpectedLoss | None
    tokens: Tokens | None
    cost: Cost
    evidence: Evidence
    recommendation: Recommendation
    command: str

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        made = asdict(self)
        for name in ("probes", "labels", "clusters"):
            made[name] = [as_row(probe) for probe in getattr(self, name)]
        made["recommendation"]["advice"] = self.recommendation.advice.value
        return made


def assess(
    setting: CompatConfig,
    store: Store,
    usage: Usage,
    *,
    max_tokens: int,
    add_bar: AddBar = no_bars,
    command: str = "",
    price: Callable[[CompatConfig, Usage, float, Progress], Cost] = cost,
) -> Assessment:
    """Measure everything; raises `InputError` for too few public texts, and what models and the planner raise."""
    usage.check()
    setting.check()
    for side in (setting.client, setting.provider):  # one model in memory at a time
        side.of(setting.public.data.texts)
    found = likeness(setting, store)
    # Sides that training would refuse have no map to try.
    probes = [] if found.refused else labelled_probes(setting, store, add_bar)
    labels = [] if found.refused else public_labels(setting, store)
    rows = len(setting.public.data)
    ratio = rows / setting.client.dimension
    known = evidence(probes, labels, found, ratio=ratio, shots=setting.shots, other_map=setting.other_kind)
    return Assessment(
        client=_party(setting.client),
        provider=_party(setting.provider),
        public_name=setting.public.name,
        public_digest=setting.public.digest,
        in_file=setting.public.in_file,
        rows=rows,
        held=len(setting.held),
        least_rows=usual_least(setting.client.dimension),
        train=setting.corpora.train,
        test=setting.corpora.test,
        shots=setting.shots,
        seeds=setting.seeds,
        max_tokens=max_tokens,
        map=setting.map_kind,
        other_map=setting.other_kind,
        likeness=found,
        probes=probes,
        labels=labels,
        clusters=[] if found.refused else cluster_probes(setting, store),
        loss=expected_loss(probes),
        tokens=tokens(setting, store),
        cost=price(setting, usage, found.r2_unseen, add_bar(f"timing {usage.suite} on this machine")),
        evidence=known,
        recommendation=recommend(known),
        command=command,
    )


def _party(side: Side) -> Party:
    return Party(name=side.name, dimension=side.dimension, fingerprint=side.fingerprint, encodes=side.encodes)
