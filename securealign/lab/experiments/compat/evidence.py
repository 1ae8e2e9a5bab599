"""The figures by which a recommendation is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from securealign.lab.experiments.compat.likeness import Likeness
from securealign.lab.experiments.compat.probes import Probe


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
