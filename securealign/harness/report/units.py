"""Numbers as people read them, each with its exact value; the report, the tables and the figures share them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Number = int | float

_BYTES = (("GB", 1e9), ("MB", 1e6), ("KB", 1e3))
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it; `name` is its path in the run file, or empty when the page computed it."""

    text: str
    value: Number | str
    name: str = ""

    @property
    def number(self) -> Number:
        """Return the value of a figure that is a number."""
        return float("nan") if isinstance(self.value, str) else self.value

    @property
    def exact(self) -> str:
        """Return the value as JSON writes it, and a text as it is."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    def __str__(self) -> str:
        return self.text

    def attributes(self) -> dict[str, str]:
        """Return the attributes of the element that shows this."""
        named = {"data-figure": self.name} if self.name else {}
        return {"data-value": self.exact, **named}

    def __html__(self) -> str:
        attributes = Markup("").join(Markup(' {}="{}"').format(*pair) for pair in self.attributes().items())
        return Markup('<span class="n"{}>{}</span>').format(attributes, self.text)


def size(value: Number, name: str = "") -> Shown:
    """Return bytes, in decimal units."""
    unit, scale = next(((unit, scale) for unit, scale in _BYTES if abs(value) >= scale * 0.9995), ("B", 1.0))
    return Shown(f"{value:,} B" if unit == "B" else f"{_digits(value / scale)} {unit}", value, name)


def seconds(value: Number, name: str = "") -> Shown:
    """Return a duration."""
    if not value:
        return Shown("0 s", value, name)
    unit, scale = next(((unit, scale) for unit, scale in _SECONDS if abs(value) >= scale * 0.9995), _SECONDS[-1])
    return Shown(f"{_digits(value / scale)} {unit}", value, name)


def count(value: Number, name: str = "") -> Shown:
    """Return a count."""
    return Shown(f"{value:,}" if isinstance(value, int) else plain(value), value, name)


def share(value: Number, name: str = "") -> Shown:
    """Return a fraction as a percentage, rounded to 100 % only when it is 1."""
    percent = f"{100 * value:.1f}"
    return Shown("99.9+%" if percent == "100.0" and value < 1 else f"{percent}%", value, name)


def number(value: Number, name: str = "") -> Shown:
    """Return a number without a unit."""
    return Shown(plain(value), value, name)


def text(value: str, name: str = "") -> Shown:
    """Return a text of the run file."""
    return Shown(value, value, name)


def ratio(value: Number, base: Number) -> Shown | None:
    """Return how many times `base` a value is, None when `base` is not positive."""
    if base <= 0:
        return None
    times = value / base
    words = plain(times) if times >= 100 or times < 0.001 else f"{times:.2f}" if times >= 0.1 else f"{times:.2g}"
    return Shown(f"\N{MULTIPLICATION SIGN}{words}", times)


def plain(value: Number) -> str:
    """Return a number with three digits, or all of a whole one."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return _tiny(value) if abs(value) < 0.001 else _digits(value)


def brief(value: float, *, digits: int = 3) -> str:
    """Return a number for a table: all digits before the point and at most `digits`, or two of a tiny one."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return _tiny(value) if value and abs(value) < 0.001 else f"{value:.{digits}g}"


def ticks(low: float, high: float, most: int = 5) -> Sequence[float]:
    """Return at most `most` + 1 round numbers from `low` to `high`, evenly spaced."""
    if high <= low:
        return [low]
    step = 10.0 ** int(f"{(high - low) / most:e}".partition("e")[2])
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    first = -int(-low // step)
    return [index * step for index in range(first, first + most + 2) if low <= index * step <= high * (1 + 1e-9)]


def tick(value: float, unit: Callable[[float], Shown]) -> str:
    """Return the label of a round number on an axis, without zeros after its point."""
    number, space, name = unit(value).text.partition(" ")
    percent = "%" if number.endswith("%") else ""
    number = number.rstrip("%")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{percent}{space}{name}" if value else "0"


def _tiny(value: float) -> str:
    leading, _, power = f"{value:.1e}".partition("e")
    return f"{leading}e{int(power)}"


def _digits(value: float) -> str:
    """Return three digits of a number, or all those before the point."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:.3g}"
