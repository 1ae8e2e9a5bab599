"""Sweeps and controls of membership inference on alignment maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np

from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.embeddings import AddBar, Embeddings, no_bars
from securealign.lab.experiments.membership.cell import attack_setting
from securealign.lab.experiments.membership.private import DELTA
from securealign.lab.experiments.membership.setting import Plan, Setting
from securealign.lab.experiments.membership.shadow import Material
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row, Store
from securealign.lab.experiments.threads import one_blas_thread

EXPERIMENT = "membership"


@dataclass(frozen=True)
class _Case:
    """A client's encoder, a provider's, and the texts that both embed."""

    source: str
    target: str
    data: str
    public: tuple[str, ...]
    pool: tuple[str, ...]


@dataclass(frozen=True)
class _Bench:
    """What all settings share."""

    embeddings: Embeddings
    store: Store
    plan: Plan
    add_bar: AddBar

    def rows(self, case: _Case, setting: Setting) -> list[Row]:
        """Return the rows of a setting, computed unless they are kept."""

        def compute() -> list[Row]:
            noise = f", epsilon {', '.join(f'{value:g}' for value in setting.epsilons)}" if setting.epsilons else ""
            title = f"{case.target} <- {case.source}: {setting.rows} rows, {setting.shots} shots{noise}"
            return attack_setting(self._material(case, setting), setting, self.plan, self.add_bar(title))

        return self.store.rows(EXPERIMENT, self._key(case, setting), compute)

    def _material(self, case: _Case, setting: Setting) -> Material:
        parts = [
            self.embeddings.of(encoder, texts, what).astype(np.float64)
            for texts, what in (
                (case.public[: setting.rows], "public texts"),
                (case.pool[: 2 * setting.shots], case.data),
            )
            for encoder in (case.source, case.target)
        ]
        return Material(*parts).standardised()

    def _key(self, case: _Case, setting: Setting) -> Row:
        return {
            "source": self.embeddings.fingerprint(case.source),
            "target": self.embeddings.fingerprint(case.target),
            "public": dataset_digest(case.public[: setting.rows]).hex(),
            "pool": dataset_digest(case.pool[: 2 * setting.shots]).hex(),
            "setting": asdict(setting) | {"epsilons": list(setting.epsilons)},
            "plan": self.plan.key(setting),
        }


@one_blas_thread()
def measure(
    corpora: Corpora,
    embeddings: Embeddings,
    store: Store,
    *,
    encoders: Sequence[str],
    data: Sequence[str],
    plan: Plan,
    add_bar: AddBar = no_bars,
    command: str = "",
) -> Result:
    """Run all sweeps for all ordered pairs of encoders, and both controls.

    Raises `InputError` for too few texts, and `SuiteError` for an epsilon under which the protocol would not run.
    """
    bench = _Bench(embeddings, store, plan, add_bar)
    tables: dict[str, list[Row]] = {"sweeps": [], "controls": []}
    for name in data:
        public, pool = _texts(corpora, name, plan)
        # Each encoder embeds all texts before the next one is opened.
        for encoder in encoders:
            embeddings.of(encoder, [*public, *pool])
        for source, target in permutations(encoders, 2):
            case = _Case(source, target, name, public, pool)
            head = {"data": name, "source": source, "target": target}
            for sweep, setting in plan.sweeps():
                tables["sweeps"] += [{**head, "sweep": sweep, **row} for row in bench.rows(case, setting)]
            for control, setting in plan.controls():
                tables["controls"] += [{**head, "control": control, **row} for row in bench.rows(case, setting)]
    texts = {"encoders": encoders, "data": data, "public": corpora.public_sets}
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(plan).items()}
    settings |= {**{name: list(value) for name, value in texts.items()}, "delta": DELTA}
    return Result(experiment=EXPERIMENT, settings=settings, tables=tables, command=command)


def _texts(corpora: Corpora, name: str, plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
