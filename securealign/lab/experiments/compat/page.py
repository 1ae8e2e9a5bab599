"""An assessment in a few lines for a terminal, and as a page.

The page holds everything that it shows, none of the user's texts, and asks for nothing.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from securealign.harness.report import bars, units
from securealign.harness.report.bars import Bar, Piece
from securealign.harness.report.templating import report_style, styled
from securealign.lab.experiments.compat.assess import Assessment
from securealign.lab.experiments.compat.probes import Probe
from securealign.lab.experiments.compat.rules import Advice, environment
from securealign.lab.experiments.compat.setting import ROWS_PER_DIMENSION

#: Class of the headline's card on the page, and style of the first line on a terminal.
_TONES = {Advice.ALIGN: "yes", Advice.SHOTS: "yes", Advice.CARE: "maybe", Advice.NOT: "no"}
_STYLES = {"yes": "bold green", "maybe": "bold yellow", "no": "bold red"}


def render(found: Assessment) -> str:
    """Return the page."""
    # The style of the report's page with what this one adds.
    own = resources.files(__package__) / "templates/compat.css"
    page = environment().get_template("compat.html")
    return page.render(
        **styled(report_style() + own.read_text(encoding="utf-8")),
        a=found,
        tone=_TONES[found.recommendation.advice],
        probes=_views(found.probes, "probe", found.shots),
        labels=_views(found.labels, "label", found.shots),
        clusters=_views(found.clusters, "cluster", found.shots),
        enough=ROWS_PER_DIMENSION,
    )


def _views(probes: Sequence[Probe], name: str, shots: int) -> list[dict[str, Any]]:
    """Return each probe with its bars."""
    return [
        {"probe": probe, "picture": _bars(probe, f"{name}-{index}", shots)} for index, probe in enumerate(probes, 1)
    ]


def _bars(probe: Probe, name: str, shots: int) -> Markup:
    figures: list[tuple[str, float | None, str]] = [
        ("provider's own encoder", probe.provider, "provider"),
        ("mapped, public texts", probe.mapped, "neutral"),
        (f"mapped, and {shots} shots", probe.with_shots, "neutral striped"),
        ("client alone, 64 labels", probe.alone_64, "client"),
        ("client alone, 128 labels", probe.alone_128, "client"),
        ("commonest class", probe.chance, "wait"),
    ]
    # Filled up to 1, so that all drawings have one scale.
    drawn = [
        Bar(words, (Piece(value, class_), Piece(1 - value, "track")), (units.share(value),))
        for words, value, class_ in figures
        if value is not None
    ]
    return bars.draw(name, f"Accuracy on {probe.name}", drawn, units.share, "test texts that are right")


def lines(found: Assessment) -> Iterator[tuple[str, str]]:
    """Yield (style, line): the recommendation, why, what else to do, and the main figures."""
    first, *others = environment().get_template("summary.txt").render(a=found).splitlines()
    yield _STYLES[_TONES[found.recommendation.advice]], first
    yield from (("dim" if line.startswith("- ") else "", line) for line in others)
