"""An assessment in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from securealign.lab.experiments.compat.assess import Assessment
from securealign.lab.experiments.compat.rules import Advice
from securealign.lab.experiments.compat.templating import environment

_STYLES = {Advice.ALIGN: "bold green", Advice.SHOTS: "bold green", Advice.CARE: "bold yellow", Advice.NOT: "bold red"}


def lines(found: Assessment) -> Iterator[tuple[str, str]]:
    """Yield (style, line): the recommendation, why, what else to do, and the main figures."""
    first, *others = environment().get_template("summary.txt").render(a=found).splitlines()
    yield _STYLES[found.recommendation.advice], first
    yield from (("dim" if line.startswith("- ") else "", line) for line in others)
