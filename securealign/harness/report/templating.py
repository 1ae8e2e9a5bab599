"""The environment in which pages are rendered, and the filters and functions of their templates."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from securealign import console
from securealign.harness.report import units


@cache
def environment(package: str) -> Environment:
    """Return the environment of the templates of a package; those of pages escape what they show."""
    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        pixels=lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
        percent=lambda fraction: f"{100 * fraction:.3f}".rstrip("0").rstrip(".") + "%",
        thousandths="{:,.3f}".format,
        # There is no room for more characters; the tables hold all of them.
        short=lambda words, most: words if len(words) <= most else f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}",
        # The pixels of a step in a sequence: its band, its arrows or its compute alone, and a gap.
        height=lambda step: 34 + (len(step.arrows) * 32 or (26 if any(step.compute.values()) else 0)),
    )
    made.globals.update(
        {name: getattr(units, name) for name in ("size", "seconds", "count", "share", "number", "text")}
    )
    return made


def report_style() -> str:
    """Return the style sheet of the report: what all pages of the project share, and what the report adds."""
    sheets = resources.files(console) / "static/base.css", resources.files(__package__) / "templates/page.css"
    return "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def styled(style: str) -> dict[str, str]:
    """Return what a template needs to hold a style sheet and to allow no other: the style, and its hash in base64."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {"style": Markup(style), "style_hash": digest}  # noqa: S704 - a file of a package


def drawing(macro: str, *arguments: Any) -> Markup:  # noqa: ANN401 - whatever the macro takes
    """Return what a macro of drawings.html draws."""
    return Markup(getattr(environment(__package__).get_template("drawings.html").module, macro)(*arguments))  # noqa: S704
