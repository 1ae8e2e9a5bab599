"""Sweeps and controls of membership inference on alignment maps, each a change of one quantity."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from securealign.commands import Progress
from securealign.data import dataset_digest
from securealign.errors import ConfigurationError, InputError
from securealign.lab.experiments.corpora import AddBar, Corpora, Embeddings
from securealign.lab.experiments.membership import shadow
from securealign.lab.experiments.membership.observe import Observer
from securealign.lab.experiments.run import Cell, Row, Run, one_blas_thread
from securealign.lab.experiments.setting import PairsConfig
from securealign.protocol.policy.privacy import Privacy

#: What a map may hold or lack of a candidate: the text, on both sides, or the provider's row alone.
Unit = Literal["text", "row"]
Sweep = Literal["rows", "shots", "penalty", "epsilon by text", "epsilon by row"]
Control = Literal["interpolating", "shuffled"]


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """One choice of all quantities: `rows` public rows, `shots` members, `penalty` as a share, noise for each epsilon.

    Several values of `epsilons` share their shadow maps but for the noise; none of them is no noise.
    """

    rows: int
    shots: int
    penalty: float
    epsilons: tuple[float, ...] = ()
    unit: Unit = "text"
    #: Whether what is guessed has been made independent of the maps.
    shuffled: bool = False


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """Values of the sweeps; the other sweeps use the first of each. Raises `ConfigurationError` for impossible ones.

    `maps` shadow maps of a setting without noise, `private_maps` of one with the protocol's differential privacy.
    """

    rows: tuple[int, ...] = (2500, 1000, 500)
    shots: tuple[int, ...] = (128, 32, 64)
    penalties: tuple[float, ...] = (0.01, 0.001, 0.1, 1.0)
    epsilons: tuple[float, ...] = (10.0, 1.0, 0.1)
    maps: int = 200
    private_maps: int = 60
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = (*self.rows, *self.shots, *self.penalties, *self.epsilons)
        if not all((self.rows, self.shots, self.penalties)) or min(positive) <= 0:
            raise ConfigurationError(
                "Rows, shots and penalties need a value each, and all values are above zero.",
                hint="Give numbers separated by commas.",
            )
        if self.folds < 2 or min(self.maps, self.private_maps) < 4 * self.folds:
            raise ConfigurationError(
                f"{self.maps} and {self.private_maps} shadow maps do not make {self.folds} folds.",
                hint="Use two folds or more, and four maps or more in each.",
            )

    @property
    def base(self) -> AttackConfig:
        """The setting that sweeps share."""
        return AttackConfig(rows=self.rows[0], shots=self.shots[0], penalty=self.penalties[0])

    def sweeps(self) -> Iterator[tuple[Sweep, AttackConfig]]:
        """Yield the settings of every sweep with its name, in the order of the quantity; sweeps share their middle."""
        base = self.base
        yield from (("rows", replace(base, rows=rows)) for rows in sorted(self.rows))
        yield from (("shots", replace(base, shots=shots)) for shots in sorted(self.shots))
        yield from (("penalty", replace(base, penalty=penalty)) for penalty in sorted(self.penalties))
        falling = tuple(sorted(self.epsilons, reverse=True))
        yield "epsilon by text", base
        if falling:
            yield "epsilon by text", replace(base, epsilons=falling)
        yield "epsilon by row", replace(base, unit="row")
        yield from (("epsilon by row", replace(base, unit="row", epsilons=(epsilon,))) for epsilon in falling)

    def controls(self) -> Iterator[tuple[Control, AttackConfig]]:
        """Yield a setting that leaves members no residual, so attacks must succeed, and one in which none can."""
        yield "interpolating", AttackConfig(rows=min(64, *self.rows), shots=min(32, *self.shots), penalty=1e-6)
        yield "shuffled", replace(self.base, shuffled=True)

    def maps_of(self, setting: AttackConfig) -> int:
        """Return the number of shadow maps of a setting."""
        return self.private_maps if setting.epsilons or setting.unit == "row" else self.maps

    def key(self, setting: AttackConfig) -> dict[str, int]:
        """Return what the cell of a setting depends on besides."""
        return {"maps": self.maps_of(setting), "folds": self.folds, "seed": self.seed}


@one_blas_thread()
def measure(run: Run, config: PairsConfig, plan: SweepPlan) -> dict[str, Any]:
    """Run all sweeps and controls of all ordered pairs; raises `InputError` for texts, `SuiteError` for an epsilon."""
    for task in config.tasks:
        public, pool = _texts(config.corpora, task, plan)
        # Each encoder embeds all texts before the next one is opened.
        for encoder in config.encoders:
            config.embeddings.of(encoder, [*public, *pool])
        cases = [_Case(config.embeddings, *pair, task, public, pool, plan, run.add_bar) for pair in config.pairs]
        run.measure(f"pairs of encoders on {task}", [case.cells for case in cases])
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(plan).items()}
    texts = {"encoders": config.encoders, "data": config.tasks, "public": config.corpora.public_sets}
    settings |= {**{name: list(value) for name, value in texts.items()}, "delta": shadow.DELTA}
    return settings


@dataclass(frozen=True)
class _Case:
    """A client's encoder, a provider's, the texts of a task and the public ones that both embed."""

    embeddings: Embeddings
    source: str
    target: str
    data: str
    public: tuple[str, ...]
    pool: tuple[str, ...]
    plan: SweepPlan
    add_bar: AddBar

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of all sweeps and controls."""
        for sweep, config in self.plan.sweeps():
            yield self._cell("sweeps", {"sweep": sweep}, config)
        for control, config in self.plan.controls():
            yield self._cell("controls", {"control": control}, config)

    def _cell(self, table: str, names: Row, config: AttackConfig) -> Cell:
        key = {
            "source": self.embeddings.fingerprint(self.source),
            "target": self.embeddings.fingerprint(self.target),
            "public": dataset_digest(self.public[: config.rows]).hex(),
            "pool": dataset_digest(self.pool[: 2 * config.shots]).hex(),
            "setting": asdict(config) | {"epsilons": list(config.epsilons)},
            "plan": self.plan.key(config),
        }
        pair = {"data": self.data, "source": self.source, "target": self.target}
        return Cell(table=table, names={**pair, **names}, key=key, compute=partial(self._attack, config), kept="")

    def _attack(self, config: AttackConfig) -> list[Row]:
        noise = f", epsilon {', '.join(f'{value:g}' for value in config.epsilons)}" if config.epsilons else ""
        title = f"{self.target} <- {self.source}: {config.rows} rows, {config.shots} shots{noise}"
        parts = [
            self.embeddings.of(encoder, texts, what).astype(np.float64)
            for texts, what in (
                (self.public[: config.rows], "public texts"),
                (self.pool[: 2 * config.shots], self.data),
            )
            for encoder in (self.source, self.target)
        ]
        return attack_setting(shadow.Material(*parts).standardised(), config, self.plan, self.add_bar(title))


def _texts(corpora: Corpora, name: str, plan: SweepPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the public texts, and the candidates among the task's training texts that are not among them."""
    public = corpora.public_texts
    known = set(public)
    pool = tuple(text for text in dict.fromkeys(corpora.task(name).train.texts) if text not in known)
    needed = 2 * max(plan.shots)
    if len(pool) < needed:
        raise InputError(
            f"{name!r} has {len(pool)} different training texts; {max(plan.shots)} shots need {needed} candidates.",
            hint="Use fewer shots or a larger data set.",
        )
    return public, pool[:needed]


def attack_setting(material: shadow.Material, config: AttackConfig, plan: SweepPlan, report: Progress) -> list[Row]:
    """Return a row for each epsilon and attack; `report` receives how many of the shadow maps are done."""
    random = np.random.default_rng([plan.seed, config.rows, config.shots])
    # The bound of differential privacy holds for members that are drawn independently of each other.
    members = shadow.draw_members(plan.maps_of(config), 2 * config.shots, random, exact=config.unit == "text")
    shadows = _shadows(material, config, plan)
    exact = not config.epsilons
    rank = int(members.sum(axis=1).max())
    observers = [Observer(material, shadows, rank, plan.seed, exact=exact) for _ in config.epsilons or (None,)]
    for done, weights in enumerate(shadows.maps(members)):
        report(done, len(members))
        for observer, affine in zip(observers, weights, strict=True):
            observer.see(affine)
    report(len(members), len(members))
    labels = shadow.shuffle_members(members, random) if config.shuffled else members
    found = []
    for epsilon, observer in zip(config.epsilons or (None,), observers, strict=True):
        head = {
            "unit": config.unit,
            "rows": len(material.public_source),
            "shots": config.shots,
            "penalty": config.penalty,
            "epsilon": epsilon,
            "maps": len(members),
            "targets": members.shape[1],
            "bound": _bound(config, epsilon),
            **observer.fit(members),
        }
        found += [{**head, **row} for row in observer.rows(labels, plan.folds, plan.seed)]
    return found


def _shadows(material: shadow.Material, config: AttackConfig, plan: SweepPlan) -> shadow.Shadows:
    penalty = material.penalty(config.penalty)
    public = len(material.public_source)
    if config.unit == "row":
        plans = [shadow.noise_plan(material, epsilon, public + 2 * config.shots) for epsilon in config.epsilons]
        return shadow.PrivateRows(material, penalty, plans[0] if plans else None, plan.seed)
    if config.epsilons:
        plans = [shadow.noise_plan(material, epsilon, public + config.shots) for epsilon in config.epsilons]
        return shadow.PrivateTexts(material, penalty, plans, plan.seed)
    return shadow.ClearShadows(material, penalty)


def _bound(config: AttackConfig, epsilon: float | None) -> float | None:
    """Return the accuracy that no observer exceeds, where differential privacy says so: Phi(mu / 2)."""
    if config.unit != "row" or epsilon is None:
        return None
    mu = 1 / Privacy(epsilon=epsilon, delta=shadow.DELTA, max_epsilon=epsilon).noise_multiplier
    return NormalDist().cdf(mu / 2)
