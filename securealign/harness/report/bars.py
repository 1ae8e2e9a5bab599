"""Bars across a page of any width: a line of text with its number, and the bar below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from securealign.harness.report import units
from securealign.harness.report.svg import Element, box, element, label, line, pattern, picture, ruled, short
from securealign.harness.report.units import Number, Shown

#: Pixels.
_LABEL, _BAR, _GAP, _AXIS = 20, 12, 12, 40
#: Characters of a name that fit beside the figures on a telephone.
_LONGEST = 28
#: The least width of what is not nothing, as a fraction.
_LEAST = 0.004


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
    row = _LABEL + (_LABEL if limit else 0) + _BAR + _GAP
    bottom = len(bars) * row - _GAP / 2
    classes = sorted({piece.class_ for bar in bars for piece in bar.pieces if " " in piece.class_})
    fills = {class_: f"{name}-{class_.replace(' ', '-')}" for class_ in classes}
    parts = [element("defs", *(pattern(fill, class_) for class_, fill in fills.items()))] if fills else []
    ticks = units.ticks(0.0, longest, 4)
    parts.extend(_axis([(tick / longest, units.tick(tick, unit)) for tick in ticks], bottom, axis))
    for index, bar in enumerate(bars):
        top = (index + 1) * row - _GAP - _BAR
        parts.append(label(short(bar.name, _LONGEST), x=0, y=index * row + 14))
        parts.append(label(*bar.figures, x=1, y=index * row + 14, anchor="end", class_="number"))
        parts.append(box(0, top, 1, _BAR, "track"))
        parts.extend(ruled([tick / longest for tick in ticks], top, _BAR))
        parts.extend(_pieces(bar, top, 1 / longest, fills))
    if limit:
        parts.extend(_limit(limit[0] / longest, limit[1], _LABEL))
    described = "; ".join(
        f"{bar.name}: {''.join(part if isinstance(part, str) else part.text for part in bar.figures)}" for bar in bars
    )
    return picture(name, title, f"{described}.", bottom + _AXIS, parts)


def _pieces(bar: Bar, y: float, scale: float, fills: Mapping[str, str]) -> list[Element]:
    parts = []
    x = 0.0
    for piece in bar.pieces:
        if piece.value <= 0:
            continue
        width = max(_LEAST, piece.value * scale)
        drawn = box(min(x, 1 - width), y, width, _BAR, piece.class_)
        if piece.class_ in fills:
            drawn.attrib.update({"fill": f"url(#{fills[piece.class_]})", "class": "patterned"})
        parts.append(drawn)
        x += width
    return parts


def _axis(ticks: Sequence[tuple[float, str]], bottom: float, title: str) -> list[Element]:
    parts = [line(0, bottom, 1, bottom, "axis")]
    for x, words in ticks:
        anchor = "start" if x < 0.06 else "end" if x > 0.94 else "middle"
        parts.append(line(x, bottom, x, bottom + 4, "axis"))
        parts.append(label(words, x=x, y=bottom + 18, anchor=anchor, class_="small"))
    parts.append(label(title, x=1, y=bottom + 34, anchor="end", class_="small muted"))
    return parts


def _limit(x: float, words: str, y: float) -> list[Element]:
    anchor = "start" if x < 0.3 else "end" if x > 0.7 else "middle"
    top = y + _LABEL
    return [line(x, top - 2, x, top + _BAR + 4, "limit"), label(words, x=x, y=y + 13, anchor=anchor, class_="small")]
