"""How pages are made and sent: templates that escape, files of their own, and headers that forbid all others."""

from __future__ import annotations

import time
from functools import cache
from importlib import resources

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

#: What a browser may load and run with a page: files of its own origin, and nothing inside the page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Without a referrer, a form of the own page would be sent with no origin.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # A page may hold texts, and the machine may be shared.
    "Cache-Control": "no-store",
}
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: What a provider answers with, in words.
_ANSWERS = {"label": "labels alone", "label_confidence": "labels with confidence"}
_BYTES = (("GB", 1e9), ("MB", 1e6), ("KB", 1e3))


def page(template: str, status: int = 200, /, **values: object) -> HTMLResponse:
    """Return a page, or a part of one, from a template."""
    text = _environment().get_template(template).render(**values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


@cache
def own_file(name: str) -> Response:
    """Return a style sheet, script or picture of the pages; raises `HTTPException` for a name that is none of them."""
    known = {file.name: file for file in resources.files(__package__).joinpath("static").iterdir()}
    if name not in known:
        raise HTTPException(404)
    media = _TYPES[name.rpartition(".")[2]]
    return Response(known[name].read_bytes(), media_type=media, headers={**HEADERS, "Cache-Control": "no-cache"})


def size(value: float) -> str:
    """Return a number of bytes in decimal units."""
    unit, scale = next(((unit, scale) for unit, scale in _BYTES if value >= scale * 0.9995), ("B", 1.0))
    shown = value / scale
    return f"{shown:,.0f} {unit}" if unit == "B" or shown >= 99.95 else f"{shown:.3g} {unit}"


def moment(value: float | None) -> str:
    """Return a Unix time in seconds as a date and a time of day in UTC, "never" for None."""
    return "never" if value is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(value))


def duration(seconds: float) -> str:
    """Return a time span in its largest whole unit."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        size=size,
        moment=moment,
        duration=duration,
        count="{:,}".format,
        answers=lambda output: _ANSWERS.get(output, output),
    )
    return made
