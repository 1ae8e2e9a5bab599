"""How alike the embeddings of the public texts are, what a new task may lose, and the figures that decide."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.special import stdtrit

from securealign.alignment.clear import ClearFit
from securealign.alignment.regression import require_related
from securealign.alignment.scaling import deviations
from securealign.errors import InputError
from securealign.lab.experiments.compat.probes import Probe
from securealign.lab.experiments.compat.setting import CompatConfig
from securealign.lab.experiments.leakage.sweep import Spectrum
from securealign.lab.experiments.run import Row, Store
from securealign.lab.measures.similarity import KeptComponents, debiased_cka, linear_cka, svcca_row

#: Principal components that SVCCA keeps (paper, section 3).
COMPONENTS = (64, 128)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """CKA and SVCCA of held-out public rows, None where the texts are too few, and figures of the fit on all rows."""

    cka: float
    cka_debiased: float | None
    svcca_64: float
    svcca_64_shuffled: float
    svcca_64_components: int
    svcca_128: float
    svcca_128_shuffled: float
    svcca_128_components: int
    #: Estimate of the share of the variance, in the provider's private coordinates, that the ridge map explains of
    #: texts that it has not seen: what `align` prints.
    r2_unseen: float
    #: Deviations by which the fit exceeds what unrelated rows reach, and whether training would be refused for it.
    relatedness: float
    refused: bool
    #: Share of the variance of the provider's public embeddings that the client learns from training.
    shown: float


def likeness(setting: CompatConfig, store: Store) -> Likeness:
    """Return how alike the sides are; computed once for two encoders and public texts."""
    return Likeness(**store.rows("compat-likeness", setting.key, lambda: [_compute(setting)])[0])


def _compute(setting: CompatConfig) -> Row:
    rows_b, rows_a, fitted, held = setting.rows_b, setting.rows_a, setting.fitted, setting.held
    fit, debiased, most = setting.fit, None, max(COMPONENTS)
    client, provider = (KeptComponents.of(rows[fitted], rows[held], most) for rows in (rows_b, rows_a))
    svcca = svcca_row(client, provider, COMPONENTS, np.random.default_rng(0).permutation(len(fitted)))
    with suppress(InputError):  # the texts are too few
        debiased = debiased_cka(rows_b[held], rows_a[held])
    return {
        "cka": linear_cka(rows_b[held], rows_a[held]),
        "cka_debiased": debiased,
        **{name: value for name, value in svcca.items() if "trained" not in name},
        "r2_unseen": fit.regression.explained_unseen(fit.penalty),
        "relatedness": fit.regression.relatedness(fit.penalty),
        "refused": _refused(fit) or _refused(setting.fit_without_held),
        "shown": Spectrum.of(rows_b, deviations(rows_b)).fit(rows_a).leaked,
    }


def _refused(fit: ClearFit) -> bool:
    try:
        require_related(fit.regression, fit.penalty)
    except InputError:
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Means over the probes with real labels, as shares; None where it is unknown."""

    #: What the labels are: "tasks" that the map never saw, "labels" of the public file, or "none".
    source: str
    r2_unseen: float
    relatedness: float
    rows_per_dimension: float
    shots: int
    loss: float | None = None
    loss_with_shots: float | None = None
    #: Loss on the probe that loses most.
    worst: float | None = None
    worst_name: str = ""
    #: Share of what the provider's head knows beyond chance that is left.
    kept: float | None = None
    kept_with_shots: float | None = None
    provider: float | None = None
    mapped: float | None = None
    with_shots: float | None = None
    #: Through the other kind of map, which has this name.
    other: float | None = None
    other_map: str = ""
    alone_64: float | None = None
    alone_128: float | None = None
    client: float | None = None


def evidence(
    tasks: Sequence[Probe], labels: Sequence[Probe], found: Likeness, *, ratio: float, shots: int, other_map: str
) -> Evidence:
    """Return the figures; the labels of the public file count only where no other task could be run."""
    probes = list(tasks) or list(labels)
    known_anyway: dict[str, Any] = {
        "r2_unseen": found.r2_unseen, "relatedness": found.relatedness, "rows_per_dimension": ratio, "shots": shots,
    }  # fmt: skip
    if not probes:
        return Evidence(source="none", **known_anyway)
    worst = max(probes, key=lambda probe: probe.loss)
    means: dict[str, Any] = {name: _mean(probes, name) for name in _MEANS}
    provider, mapped, chance = (fmean(getattr(probe, name) for probe in probes) for name in _CERTAIN)
    with_shots = means["with_shots"]
    known = provider - chance

    def kept(accuracy: float | None) -> float | None:
        return None if accuracy is None else (accuracy - chance) / known if known > 0 else 0.0

    return Evidence(
        source="tasks" if tasks else "labels",
        **known_anyway,
        **means,
        loss=provider - mapped,
        loss_with_shots=None if with_shots is None else provider - with_shots,
        worst=worst.loss,
        worst_name=worst.name,
        kept=kept(mapped),
        kept_with_shots=kept(with_shots),
        provider=provider,
        mapped=mapped,
        other=_mean(probes, "mapped_other"),
        other_map=other_map,
    )


_CERTAIN = ("provider", "mapped", "chance")
_MEANS = ("with_shots", "alone_64", "alone_128", "client")


def _mean(probes: Sequence[Probe], name: str) -> float | None:
    """Return the mean of a figure, None unless every probe has it."""
    values = [getattr(probe, name) for probe in probes]
    return None if None in values else fmean(values)


#: Probability that intervals are made for.
LEVEL = 0.95
_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class ExpectedLoss:
    """Accuracy lost, as shares; below zero where the map gains."""

    probes: int
    mean: float
    #: Bootstrap over probes, and over the test texts of each: what the mean of such probes may be.
    low: float
    high: float
    #: Prediction interval for one more task like these (Student's t, k - 1 degrees); None with a single probe.
    new_low: float | None
    new_high: float | None


def expected_loss(probes: Sequence[Probe]) -> ExpectedLoss | None:
    """Return what probes say of the loss elsewhere; None without probes."""
    if not probes:
        return None
    losses = [probe.loss for probe in probes]
    low, high = _bootstrap(probes)
    mean, count = fmean(losses), len(losses)
    new: tuple[float, float] | None = None
    if count > 1:
        reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * stdev(losses) * (1 + 1 / count) ** 0.5
        # Accuracies are shares, so that no loss lies outside.
        new = max(-1.0, mean - reach), min(1.0, mean + reach)
    return ExpectedLoss(
        probes=count, mean=mean, low=low, high=high,
        new_low=new[0] if new else None, new_high=new[1] if new else None,
    )  # fmt: skip


def _bootstrap(probes: Sequence[Probe]) -> tuple[float, float]:
    random = np.random.default_rng(0)
    # A text counts +1 when only the provider's own embeddings get it right, -1 when only the mapped ones do; drawing
    # texts with replacement is drawing these counts.
    drawn = np.empty((_DRAWS, len(probes)))
    for column, probe in enumerate(probes):
        shares = np.array([probe.lost, probe.gained, probe.tests - probe.lost - probe.gained]) / probe.tests
        counts = random.multinomial(probe.tests, shares, size=_DRAWS)
        drawn[:, column] = (counts[:, 0] - counts[:, 1]) / probe.tests
    chosen = random.integers(len(probes), size=drawn.shape)
    means = np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
