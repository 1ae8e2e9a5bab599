"""Bars across a page of any width: a line of text with its number, and the bar below it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from securealign.harness.report import units
from securealign.harness.report.templating import drawing
from securealign.harness.report.units import Number, Shown


@dataclass(frozen=True)
class Piece:
    """A part of a bar: its length in the unit of the axis, and a class of the style sheet, perhaps with a texture."""

    value: Number
    class_: str


@dataclass(frozen=True)
class Bar:
    """A bar of pieces, the words above it and the figures at their end."""

    name: str
    pieces: tuple[Piece, ...]
    figures: tuple[Shown | str, ...]

    @property
    def total(self) -> Number:
        """Return the length of the bar."""
        return sum(max(0, piece.value) for piece in self.pieces)


def draw(
    name: str,
    title: str,
    bars: Sequence[Bar],
    unit: Callable[[float], Shown],
    axis: str,
    *,
    limit: tuple[Number, str] | None = None,
) -> Markup:
    """Return bars on one linear scale from 0, which `unit` writes; `limit` is a value to compare with, named."""
    longest = float(max([*(bar.total for bar in bars), limit[0] if limit else 0])) or 1.0
    ticks = [(tick / longest, units.tick(tick, unit)) for tick in units.ticks(0.0, longest, 4)]
    textured = sorted({piece.class_ for bar in bars for piece in bar.pieces if " " in piece.class_})
    described = "; ".join(f"{bar.name}: {''.join(map(str, bar.figures))}" for bar in bars)
    return drawing("bars", name, title, f"{described}.", bars, ticks, axis, longest, textured, limit)
