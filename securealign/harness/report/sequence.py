"""The messages of a session between two life lines."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from securealign.harness.report import units
from securealign.harness.report.steps import Arrow, Step
from securealign.harness.report.svg import Element, across, box, element, label, line, mark, picture, short
from securealign.harness.runs.records import Side

_LINES: dict[Side, float] = {"client": 0.17, "provider": 0.83}
_NAMES: dict[Side, str] = {"client": "Client B", "provider": "Provider A"}
#: Pixels.
_HEAD, _BAND, _ROW, _QUIET, _GAP, _FOOT = 34, 26, 32, 26, 8, 48
#: Characters of a name that fit beside a number on a telephone.
_LONGEST = 20


def draw(name: str, title: str, steps: Sequence[Step]) -> Markup:
    """Return the sequence diagram of some steps."""
    parts: list[Element] = []
    y = float(_HEAD + _GAP)
    heights = [_BAND + _rows(step) + _GAP for step in steps]
    bottom = y + sum(heights)
    parts.append(_head(name))
    parts.extend(line(x, _HEAD, x, bottom, "life") for x in _LINES.values())
    hint = "Point at a message, or reach it with the Tab key."
    parts.append(label(hint, x=0, y=bottom + 26, class_="muted hint"))
    for number, (step, height) in enumerate(zip(steps, heights, strict=True), 1):
        parts.extend(_step(name, number, step, y, bottom))
        y += height
    arrows = [arrow for step in steps for arrow in step.arrows]
    description = (
        f"{sum(len(arrow.messages) for arrow in arrows):,} messages in {len(steps)} steps, folded into "
        f"{len(arrows)} arrows between client and provider. The table that follows holds the same."
    )
    return picture(name, title, description, bottom + _FOOT, parts, marked=True)


def _head(name: str) -> Element:
    heads = []
    for side, x in _LINES.items():
        heads.append(box(x - 0.15, 0.5, 0.30, _HEAD - 1, f"head {side}", rounded=6))
        heads.append(label(_NAMES[side], x=x, y=22, anchor="middle", class_="strong"))
    tips = [_tip(name, side) for side in _LINES]
    return element("g", element("defs", *tips), *heads)


def _tip(name: str, side: Side) -> Element:
    path = element("path", d="M0,0 L10,5 L0,10 Z", class_=side)
    return element(
        "marker", path, id=f"{name}-tip-{side}", viewBox="0 0 10 10", refX=10, refY=5,
        markerWidth=10, markerHeight=10, orient="auto", markerUnits="userSpaceOnUse",
    )  # fmt: skip


def _step(name: str, number: int, step: Step, y: float, bottom: float) -> list[Element]:
    parts = [
        box(0, y, 1, _BAND - 2, "band", rounded=4),
        label(f"{number}  {step.name}", x=0.015, y=y + 16.5, class_="strong"),
        label(_period(step), x=0.985, y=y + 16.5, anchor="end", class_="muted"),
    ]
    top = y + _BAND
    for side, seconds in step.compute.items():
        if seconds > 0:
            parts.append(_working(side, seconds, top, _rows(step)))
    for row, arrow in enumerate(step.arrows):
        parts.append(_arrow(name, arrow, top + row * _ROW, bottom))
    return parts


def _rows(step: Step) -> float:
    return len(step.arrows) * _ROW or (_QUIET if any(step.compute.values()) else 0)


def _period(step: Step) -> str:
    return f"{step.start:,.2f} to {step.end:,.2f} s"


def _working(side: Side, seconds: float, top: float, height: float) -> Element:
    x, (edge, anchor) = _LINES[side], (0, "start") if side == "client" else (1, "end")
    bar = element("rect", x=-4, y=top + 3, width=8, height=height - 4, rx=2, class_=f"work {side}")
    return element(
        "g",
        element("svg", bar, x=across(x), overflow="visible"),
        label(units.seconds(seconds), x=edge, y=top + 18, anchor=anchor, class_="small"),
    )


def _arrow(name: str, arrow: Arrow, top: float, bottom: float) -> Element:
    sender: Side = "client" if arrow.direction == "up" else "provider"
    receiver: Side = "provider" if sender == "client" else "client"
    start, end = _LINES[sender], _LINES[receiver]
    shift = 0.018 if end > start else -0.018  # clear of the bars on the life lines
    number, total = len(arrow.messages), units.size(arrow.bytes)
    times = f" \N{MULTIPLICATION SIGN}{number:,}" if number > 1 else ""
    shaft = line(
        start + shift, top + 24, end - shift, top + 24,
        f"shaft {sender}{' many' if number > 1 else ''}", tip=f"{name}-tip-{sender}",
    )  # fmt: skip
    what = f"{arrow.type}{times} to {receiver}, {arrow.phase}"
    costs = f"{arrow.bytes:,} bytes, {arrow.wire_bytes:,} on the wire; {_travel(arrow)}"
    return mark(
        f"{what}: {costs}",
        box(start if end > start else end, top + 2, abs(end - start), _ROW - 3, "target"),
        shaft,
        label(f"{short(arrow.type, _LONGEST)}{times}  ", total, x=0.5, y=top + 18, anchor="middle"),
        element(
            "g",
            box(0, bottom + 8, 1, _FOOT - 8, "cover"),
            label(
                f"{short(arrow.type, _LONGEST)}{times} to {receiver}, {arrow.phase}",
                x=0,
                y=bottom + 24,
                class_="strong",
            ),
            label(costs, x=0, y=bottom + 42, class_="small"),
            class_="more",
        ),
    )


def _travel(arrow: Arrow) -> str:
    known = [f"{time:,.3f}" for time in (arrow.sent, arrow.received) if time is not None]
    return f"{' to '.join(known)} s" if known else "time unknown"
