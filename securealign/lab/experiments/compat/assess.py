"""All that is known of a pair, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from securealign.commands import Progress
from securealign.lab.experiments.compat.clusters import cluster_probes
from securealign.lab.experiments.compat.cost import Cost, Usage, cost
from securealign.lab.experiments.compat.evidence import Evidence, evidence
from securealign.lab.experiments.compat.likeness import Likeness, likeness
from securealign.lab.experiments.compat.loss import ExpectedLoss, expected_loss
from securealign.lab.experiments.compat.probes import Probe, as_row, labelled_probes, public_labels
from securealign.lab.experiments.compat.rules import Recommendation, recommend
from securealign.lab.experiments.compat.setting import CompatConfig, usual_least
from securealign.lab.experiments.compat.sides import Side
from securealign.lab.experiments.compat.tokens import Tokens, tokens
from securealign.lab.experiments.embeddings import AddBar, no_bars
from securealign.lab.experiments.store import Store


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
        side.public(setting.public.data.texts)
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
