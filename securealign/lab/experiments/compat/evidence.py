"""The figures that a recommendation rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from securealign.lab.experiments.compat.likeness import Likeness
from securealign.lab.experiments.compat.probes import Probe


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Means over the probes with real labels, as shares; None where nothing could tell."""

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
    provider, mapped, chance = (_mean(probes, name) or 0.0 for name in ("provider", "mapped", "chance"))
    with_shots = _mean(probes, "with_shots")
    known = provider - chance

    def kept(accuracy: float | None) -> float | None:
        return None if accuracy is None else (accuracy - chance) / known if known > 0 else 0.0

    return Evidence(
        source="tasks" if tasks else "labels",
        **known_anyway,
        loss=provider - mapped,
        loss_with_shots=None if with_shots is None else provider - with_shots,
        worst=worst.loss,
        worst_name=worst.name,
        kept=kept(mapped),
        kept_with_shots=kept(with_shots),
        provider=provider,
        mapped=mapped,
        with_shots=with_shots,
        other=_mean(probes, "mapped_other"),
        other_map=other_map,
        alone_64=_mean(probes, "alone_64"),
        alone_128=_mean(probes, "alone_128"),
        client=_mean(probes, "client"),
    )


def _mean(probes: Sequence[Probe], name: str) -> float | None:
    """Return the mean of a figure, None unless every probe has it."""
    read: Callable[[Probe], float | None] = lambda probe: getattr(probe, name)  # noqa: E731
    values = [value for probe in probes if (value := read(probe)) is not None]
    return fmean(values) if len(values) == len(probes) else None
