"""Who was busy when in a session: one lane for each party, for each direction of the network, and for waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from securealign.harness.report import units
from securealign.harness.report.activity import SLICES, Activity, Span, length, outline, shares, view_box
from securealign.harness.report.steps import Step
from securealign.harness.report.svg import Element, across, box, element, label, line, mark, picture, ruled
from securealign.harness.report.units import Shown
from securealign.harness.runs.records import RunStarts, Stats

#: Pixels.
_STRIP, _LABEL, _BAR, _GAP, _AXIS = 24, 20, 22, 12, 42
#: Pixels of a container from which a style sheet may show more (`from-1`, `from-2`), beside what always fits.
_WIDTHS = (320, 560, 860)
_CHARACTER = 7.2


@dataclass(frozen=True)
class Lane:
    """One row of a time line: what it shows, in which class, when, and the seconds beside its name."""

    name: str
    class_: str
    spans: Sequence[Span]
    total: Shown


def lanes(about: RunStarts, activity: Activity, stats: Stats, path: str) -> list[Lane]:
    """Return the lanes that a recording can fill; one side does not know what happens on the other."""
    made = []
    if about.side != "provider" or activity.compute["client"]:
        seconds = units.seconds(stats.client_seconds, f"{path}.stats.client_seconds")
        made.append(Lane("Client computes", "client", activity.compute["client"], seconds))
    for name, class_, spans in (
        ("On the way to the provider", "client soft", activity.up),
        ("On the way to the client", "provider soft", activity.down),
    ):
        if spans:
            made.append(Lane(name, class_, spans, units.seconds(length(spans))))
    if about.side != "client" or activity.compute["provider"]:
        seconds = units.seconds(stats.provider_seconds, f"{path}.stats.provider_seconds")
        made.append(Lane("Provider computes", "provider", activity.compute["provider"], seconds))
    nobody = "Neither computes" if about.side == "both" else f"The {about.side} waits for the other side"
    return [*made, Lane(nobody, "wait", activity.idle, units.seconds(length(activity.idle)))]


def draw(name: str, title: str, activity: Activity, steps: Sequence[Step], rows: Sequence[Lane]) -> Markup:
    """Return the time line of a session; the height of a lane is the share of time in which it is busy."""
    start, end = activity.start, max(activity.end, activity.start + 1e-9)
    top = _STRIP + _GAP
    bottom = top + len(rows) * (_LABEL + _BAR + _GAP) - _GAP / 2
    ticks = units.ticks(start, end)
    at = [(tick - start) / (end - start) for tick in ticks]
    parts = [*_axis(ticks, at, bottom), *_strip(steps, start, end)]
    for index, lane in enumerate(rows):
        parts.append(_lane(lane, top + index * (_LABEL + _BAR + _GAP), start, end, at))
    described = "; ".join(f"{lane.name}: {lane.total.text}" for lane in rows)
    description = f"From second {start:,.2f} to {end:,.2f} of the run. {described}. The table that follows holds more."
    return picture(name, title, description, bottom + _AXIS, parts, marked=True)


def _strip(steps: Sequence[Step], start: float, end: float) -> list[Element]:
    parts: list[Element] = []
    begins = [max(start, step.start) for step in steps] + [end]
    for index, step in enumerate(steps):
        x, stop = (begins[index] - start) / (end - start), (begins[index + 1] - start) / (end - start)
        if stop <= x:
            continue
        parts.append(box(x, 0, stop - x, _STRIP, "band odd" if index % 2 else "band"))
        parts.append(line(x, 0, x, _STRIP, "edge"))
        parts.extend(_named(f"{index + 1} {step.name}", str(index + 1), x, stop - x))
    return parts


def _named(full: str, number: str, x: float, width: float) -> list[Element]:
    """Return the name of a step where it fits, its number where only that fits."""
    middle, made = x + width / 2, []
    fits, fits_number = _from(full, width), _from(number, width)
    if fits < len(_WIDTHS):
        made.append(label(full, x=middle, y=16, anchor="middle", class_=f"small from-{fits}"))
    if fits_number < fits:
        classes = f"small from-{fits_number} until-{fits}"
        made.append(label(number, x=middle, y=16, anchor="middle", class_=classes))
    return made


def _from(words: str, width: float) -> int:
    """Return the first of `_WIDTHS` at which words fit, or their number when they never do."""
    needed = len(words) * _CHARACTER + 6
    return next((index for index, pixels in enumerate(_WIDTHS) if pixels * width >= needed), len(_WIDTHS))


def _lane(lane: Lane, y: float, start: float, end: float, at: Sequence[float]) -> Element:
    area = element("path", d=outline(shares(lane.spans, start, end)), class_=lane.class_)
    part = units.share(min(1.0, length(lane.spans) / (end - start)))
    says = f"{lane.name}: {lane.total.text}, busy {part.text} of the time"
    return mark(
        says,
        box(0, y, 1, _LABEL + _BAR, "target"),
        label(lane.name, x=0, y=y + 14),
        label(lane.total, "  ", part, x=1, y=y + 14, anchor="end", class_="number"),
        box(0, y + _LABEL, 1, _BAR, "track"),
        *ruled(at, y + _LABEL, _BAR),
        element(
            "svg", area, x=across(0), y=y + _LABEL, width="100%", height=_BAR,
            viewBox=view_box(SLICES), preserveAspectRatio="none",
        ),
    )  # fmt: skip


def _axis(ticks: Sequence[float], at: Sequence[float], bottom: float) -> list[Element]:
    parts = [line(0, bottom, 1, bottom, "axis")]
    for tick, x in zip(ticks, at, strict=True):
        anchor = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
        parts.append(line(x, bottom, x, bottom + 4, "axis"))
        parts.append(label(f"{tick:,.10g}", x=x, y=bottom + 18, anchor=anchor, class_="small"))
    parts.append(label("seconds of the run", x=1, y=bottom + 36, anchor="end", class_="small muted"))
    return parts
