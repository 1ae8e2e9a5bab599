"""A small builder of SVG that fits any width without scaling its text.

Positions across are fractions of the width, positions down are CSS pixels; there is no viewBox. Colours are classes of
the style sheet, so that a drawing follows the theme. A drawing without parts to focus is one image for a screen reader;
one with such parts is a group of images, since the parts of an image do not exist for a screen reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from markupsafe import Markup

from securealign.harness.report.units import Shown

Element = ET.Element
Length = float | int | str


def element(tag: str, *children: Element, text: str | None = None, **attributes: Length) -> Element:
    """Return an element; `stroke_width` stands for stroke-width and `class_` for class."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): _length(value) for name, value in attributes.items()})
    made.text = text
    made.extend(children)
    return made


def across(fraction: float) -> str:
    """Return a position or width, given as a fraction of the whole width."""
    return f"{100 * fraction:.3f}".rstrip("0").rstrip(".") + "%"


def label(*words: str | Shown, x: float, y: float, anchor: str = "start", class_: str = "") -> Element:
    """Return a line of text whose base line is at y; figures in it carry their exact values."""
    made = element("text", x=across(x), y=y)
    made.attrib.update({"text-anchor": anchor} if anchor != "start" else {})
    made.attrib.update({"class": class_} if class_ else {})
    for part in words:
        span = element("tspan", text=part if isinstance(part, str) else part.text)
        if isinstance(part, Shown):
            span.attrib.update(part.attributes())
        made.append(span)
    return made


def line(x1: float, y1: float, x2: float, y2: float, class_: str, *, tip: str = "") -> Element:
    """Return a straight line, which ends in the marker named `tip`."""
    made = element("line", x1=across(x1), y1=y1, x2=across(x2), y2=y2, class_=class_)
    made.attrib.update({"marker-end": f"url(#{tip})"} if tip else {})
    return made


def box(x: float, y: float, width: float, height: float, class_: str, *, rounded: float = 0) -> Element:
    """Return a rectangle."""
    return element("rect", x=across(x), y=y, width=across(width), height=height, rx=rounded, class_=class_)


def ruled(x: Iterable[float], y: float, height: float) -> list[Element]:
    """Return the lines of a grid inside a row, which leave the words above it alone."""
    return [line(at, y, at, y + height, "grid") for at in x]


def mark(says: str, *children: Element) -> Element:
    """Return a part of a drawing that the keyboard reaches, that a pointer explains, and that is read out as `says`."""
    return element("g", element("title", text=says), *children, class_="mark", tabindex=0, role="img", aria_label=says)


def short(words: str, longest: int) -> str:
    """Return words cut to a number of characters that there is room for; the tables hold all of them."""
    return words if len(words) <= longest else f"{words[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def pattern(name: str, class_: str) -> Element:
    """Return the fill of a class that is striped or dotted, so that a colour need not be told apart from another."""
    texture = element("circle", cx=4, cy=4, r=1.5, class_="dot")
    if "striped" in class_:
        texture = element("path", d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", class_="stripe")
    return element(
        "pattern",
        element("rect", width=8, height=8, class_=class_),
        texture,
        id=name,
        width=8,
        height=8,
        patternUnits="userSpaceOnUse",
    )


def picture(
    name: str,
    title: str,
    description: str,
    height: float,
    parts: Iterable[Element],
    *,
    marked: bool = False,
) -> Markup:
    """Return a drawing, whose accessible name is its title and whose description says what it shows."""
    root = element(
        "svg",
        element("title", text=title, id=f"{name}-title"),
        element("desc", text=description, id=f"{name}-desc"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        width="100%",
        height=round(height),
        role="group" if marked else "img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
    )
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree has escaped it


def _length(value: Length) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
