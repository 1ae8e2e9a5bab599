"""What a run costs for every combination of suites, networks and sizes.

Each suite computes once for each combination of sizes; the networks replay what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import numpy as np

from securealign.alignment.clear import fit_map
from securealign.api import AlignmentRun, ClassificationRun, align_in_process, classify_in_process
from securealign.harness.bench.inputs import made_up, synthetic_embeddings, synthetic_head
from securealign.harness.simulation.networks import Network
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix
from securealign.transport.stats import RunStats


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a run is about: N public rows, d_A, d_B, K classes, and queries, `batch` of them in one round trip."""

    samples: int
    dim_a: int
    dim_b: int
    classes: int
    queries: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class SizeLists:
    """Values of each size, to be combined."""

    samples: Sequence[int]
    dim_a: Sequence[int]
    dim_b: Sequence[int]
    classes: Sequence[int]
    queries: Sequence[int]
    batch: int

    def combinations(self) -> list[Sizes]:
        """Return every combination, the smallest first."""
        names = ("samples", "dim_a", "dim_b", "classes", "queries")
        values = product(*(sorted(dict.fromkeys(getattr(self, name))) for name in names))
        return [Sizes(**dict(zip(names, chosen, strict=True)), batch=self.batch) for chosen in values]


@dataclass(frozen=True)
class Run:
    """Training and inference of one suite at one combination of sizes, in this process."""

    suite: str
    sizes: Sizes
    training: AlignmentRun = field(repr=False)
    inference: ClassificationRun = field(repr=False)
    #: Share of labels that equal those computed in clear.
    label_agreement: float
    #: Share of the variance of Z_A that the map explains.
    alignment_r2: float
    #: What the map makes of the public rows against the map fitted in clear, relative to their spread.
    map_error: float

    def over(self, conditions: Conditions) -> Point:
        """Return what the run costs over a network."""
        return Point(
            suite=self.suite,
            network=conditions.network.name,
            seed=conditions.seed,
            client_factor=conditions.client_factor,
            provider_factor=conditions.provider_factor,
            sizes=self.sizes,
            training=self.training.session.stats(conditions),
            inference=self.inference.session.stats(conditions),
            results=self.results,
        )

    @property
    def results(self) -> dict[str, float]:
        """What came out, besides the costs."""
        return {
            "label_agreement": self.label_agreement,
            "alignment_r2": self.alignment_r2,
            "map_error": self.map_error,
        }


@dataclass(frozen=True, kw_only=True)
class Point:
    """The costs of one suite over one network at one combination of sizes."""

    suite: str
    network: str
    seed: int
    client_factor: float
    provider_factor: float
    sizes: Sizes
    training: RunStats = field(repr=False)
    inference: RunStats = field(repr=False)
    results: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "suite": self.suite,
            "network": self.network,
            "seed": self.seed,
            "client_factor": self.client_factor,
            "provider_factor": self.provider_factor,
            **asdict(self.sizes),
            "training": self.training.as_dict(),
            "inference": self.inference.as_dict(),
            **self.results,
        }


@made_up()
def run_once(suite: str, sizes: Sizes) -> Run:
    """Train and classify on synthetic embeddings in this process."""
    z_a, z_b = synthetic_embeddings(sizes.samples, sizes.dim_a, sizes.dim_b)
    weight, bias = synthetic_head(sizes.dim_a, sizes.classes)
    training = align_in_process(z_a, z_b, suite=suite, ridge="auto")
    _, private = synthetic_embeddings(sizes.queries, sizes.dim_a, sizes.dim_b, seed=2)
    mapped = training.alignment.apply(private)
    inference = classify_in_process(weight, bias, mapped, suite=suite, batch=sizes.batch)
    secure, clear = training.alignment.apply(z_b), fit_map(z_b, z_a, "auto").apply(z_b)
    return Run(
        suite,
        sizes,
        training,
        inference,
        label_agreement=float(np.mean(inference.labels == (mapped @ weight + bias).argmax(axis=1))),
        alignment_r2=float(1 - _spread(z_a - secure, about=0.0) / _spread(z_a)),
        map_error=float(np.sqrt(_spread(secure - clear, about=0.0) / _spread(clear))),
    )


def _spread(matrix: FloatMatrix, about: float | None = None) -> float:
    """Return the sum of squares about the mean of each column, or about a number."""
    centre = matrix.mean(axis=0) if about is None else about
    return float(np.sum((matrix - centre) ** 2))


def sweep(
    suites: Sequence[str],
    networks: Sequence[Network],
    sizes: SizeLists,
    *,
    seed: int = 0,
    client_factor: float = 1.0,
    provider_factor: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    done: Callable[[Run, Conditions], None] = lambda run, conditions: None,
) -> list[Point]:
    """Return the costs of all combinations; `done` is told of each as it is known.

    Raises `SuiteError` for a suite that is unknown, cannot run here, or cannot hold one of the problems.
    """
    for suite in suites:  # before minutes of computing are lost to a name that is wrong
        get_suite(suite)
    combinations, points = sizes.combinations(), []
    total = len(suites) * len(combinations)
    progress(0, total)
    for number, (chosen, suite) in enumerate(product(combinations, suites), start=1):
        run = run_once(suite, chosen)
        for network in networks:
            conditions = Conditions(
                network=network, seed=seed, client_factor=client_factor, provider_factor=provider_factor
            )
            points.append(run.over(conditions))
            done(run, conditions)
        progress(number, total)
    return points
