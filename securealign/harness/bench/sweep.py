"""What a run costs for every combination of suites, networks and sizes.

Each suite computes once for each combination of sizes; the networks replay what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import numpy as np

from securealign.alignment.clear import fit_map
from securealign.api import AlignmentRun, ClassificationRun, align_in_process, classify_in_process
from securealign.commands import counted
from securealign.harness.bench.inputs import made_up, synthetic_embeddings, synthetic_head
from securealign.harness.bench.rows import csv_of
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import get_suite
from securealign.protocol.policy.rules import Output
from securealign.transport.stats import FIGURES, RunStats


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a run is about: N public rows, d_A, d_B, K classes, and queries, `batch` of them in one round trip."""

    samples: int
    dim_a: int
    dim_b: int
    classes: int
    queries: int
    batch: int


def combinations(*, batch: int, **lists: Sequence[int]) -> list[Sizes]:
    """Return every combination of values of the other sizes, the smallest first."""
    values = product(*(sorted(dict.fromkeys(values)) for values in lists.values()))
    return [Sizes(**dict(zip(lists, chosen, strict=True)), batch=batch) for chosen in values]


@dataclass(frozen=True)
class Run:
    """Training and inference of one suite at one combination of sizes, in this process."""

    suite: str
    sizes: Sizes
    training: AlignmentRun = field(repr=False)
    inference: ClassificationRun = field(repr=False)
    #: What came out, besides the costs: the share of labels that equal those in clear ("label_agreement"), the share of
    #: the variance of Z_A that the map explains ("alignment_r2"), and what the map makes of the public rows against the
    #: map fitted in clear, relative to their spread ("map_error").
    results: Mapping[str, float]

    def over(self, conditions: Conditions) -> Point:
        """Return what the run costs over a network."""
        return Point(
            suite=self.suite,
            conditions=conditions,
            sizes=self.sizes,
            training=self.training.session.stats(conditions),
            inference=self.inference.session.stats(conditions),
            results=self.results,
        )


@dataclass(frozen=True, kw_only=True)
class Point:
    """The costs of one suite over one network at one combination of sizes."""

    suite: str
    conditions: Conditions
    sizes: Sizes
    training: RunStats = field(repr=False)
    inference: RunStats = field(repr=False)
    results: Mapping[str, float]

    @property
    def network(self) -> str:
        """The name of the network."""
        return self.conditions.network.name

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "suite": self.suite,
            "network": self.network,
            **{name: getattr(self.conditions, name) for name in ("seed", "client_factor", "provider_factor")},
            **asdict(self.sizes),
            "training": self.training.as_dict(),
            "inference": self.inference.as_dict(),
            **self.results,
        }


@made_up()
def run_once(suite: str, sizes: Sizes, output: Output = "logits") -> Run:
    """Train and classify on synthetic embeddings in this process."""
    z_a, z_b = synthetic_embeddings(sizes.samples, sizes.dim_a, sizes.dim_b)
    weight, bias = synthetic_head(sizes.dim_a, sizes.classes)
    training = align_in_process(z_a, z_b, suite=suite, ridge="auto")
    _, private = synthetic_embeddings(sizes.queries, sizes.dim_a, sizes.dim_b, seed=2)
    mapped = training.alignment.apply(private)
    inference = classify_in_process(weight, bias, mapped, suite=suite, batch=sizes.batch, output=output)
    secure, clear = training.alignment.apply(z_b), fit_map(z_b, z_a, "auto").apply(z_b)
    results = {
        "label_agreement": float(np.mean(inference.labels == (mapped @ weight + bias).argmax(axis=1))),
        "alignment_r2": float(1 - np.mean((z_a - secure) ** 2) / z_a.var(axis=0).mean()),
        "map_error": float(np.sqrt(np.mean((secure - clear) ** 2) / clear.var(axis=0).mean())),
    }
    return Run(suite, sizes, training, inference, results)


def sweep(
    suites: Sequence[str],
    links: Sequence[Conditions],
    sizes: Sequence[Sizes],
    *,
    output: Output = "logits",
    progress: Callable[[int, int], None] = lambda done, total: None,
    done: Callable[[Run, Conditions], None] = lambda run, conditions: None,
) -> list[Point]:
    """Return the costs of all combinations, each told to `done`; raises `SuiteError` for what a suite cannot hold."""
    for suite in suites:  # before minutes of computing are lost to a name that is wrong
        get_suite(suite)
    points = []
    for chosen, suite in counted(list(product(sizes, suites)), progress):
        run = run_once(suite, chosen, output)
        for conditions in links:
            points.append(run.over(conditions))
            done(run, conditions)
    return points


def points_as_csv(points: Sequence[Point]) -> bytes:
    """Return one line for each point and phase of the protocol, with the total of each session as phase "total"."""
    sizes, results = list(asdict(points[0].sizes)), list(points[0].results)
    lines = (
        (
            *(point.suite, point.network, point.conditions.seed, *asdict(point.sizes).values(), session, phase),
            *(getattr(figures, name) for name in FIGURES),
            *point.results.values(),
        )
        for point in points
        for session, stats in (("training", point.training), ("inference", point.inference))
        for phase, figures in (*stats.phases.items(), ("total", stats))
    )
    return csv_of(["suite", "network", "seed", *sizes, "session", "phase", *FIGURES, *results], lines)
