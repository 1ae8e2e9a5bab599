"""What aligning and classifying will cost, by the planner."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.harness.planning import Workload, plan, speeds_of
from securealign.harness.planning.planner import USUAL_R2
from securealign.harness.planning.speeds import Progress
from securealign.harness.simulation.networks import find_network
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import get_suite
from securealign.lab.experiments.compat.setting import CompatConfig

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
