"""What is varied: the settings of the sweeps, each a change of one quantity, and the controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from securealign.errors import ConfigurationError

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
        """Yield a setting in which attacks on residuals cannot fail, and one in which no attack can succeed.

        The first has fewer rows than dimensions and next to no penalty, which leaves members no residual.
        """
        yield "interpolating", AttackConfig(rows=min(64, *self.rows), shots=min(32, *self.shots), penalty=1e-6)
        yield "shuffled", replace(self.base, shuffled=True)

    def maps_of(self, setting: AttackConfig) -> int:
        """Return the number of shadow maps of a setting."""
        return self.private_maps if setting.epsilons or setting.unit == "row" else self.maps

    def key(self, setting: AttackConfig) -> dict[str, int]:
        """Return what the cell of a setting depends on besides."""
        return {"maps": self.maps_of(setting), "folds": self.folds, "seed": self.seed}
