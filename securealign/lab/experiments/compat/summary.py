"""An assessment in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from securealign.harness.report import units
from securealign.lab.experiments.compat.assess import Assessment
from securealign.lab.experiments.compat.rules import Advice, percent

_STYLES = {Advice.ALIGN: "bold green", Advice.SHOTS: "bold green", Advice.CARE: "bold yellow", Advice.NOT: "bold red"}


def lines(found: Assessment) -> Iterator[tuple[str, str]]:
    """Yield (style, line): the recommendation, why, what else to do, and the main figures."""
    advice = found.recommendation.advice
    yield _STYLES[advice], f"{found.client.name} for {found.provider.name}: {advice.value}"
    yield "", found.recommendation.reason
    for words in found.recommendation.helps:
        yield "dim", f"- {words}"
    yield "", ""
    yield from (("", line) for line in _figures(found))


def _figures(found: Assessment) -> Iterator[str]:
    if found.loss is not None:
        loss = found.loss
        yield (
            f"accuracy lost: {100 * loss.mean:.1f} points (95 %: {100 * loss.low:.1f} to {100 * loss.high:.1f}; "
            f"one new task: {_range(loss.new_low, loss.new_high)})"
        )
    for probe in (*found.probes, *found.labels):
        few = f", with {found.shots} shots {percent(probe.with_shots)}" if probe.with_shots is not None else ""
        alone = f"; client alone with 128 labels {percent(probe.alone_128)}" if probe.alone_128 is not None else ""
        yield f"  {probe.name}: own {percent(probe.provider)}, mapped {percent(probe.mapped)}{few}{alone}"
    like, cost = found.likeness, found.cost
    yield (
        f"likeness: CKA {like.cka:.2f}, SVCCA {like.svcca_64:.2f} (shuffled {like.svcca_64_shuffled:.2f}), the map "
        f"explains {percent(max(0.0, like.r2_unseen))} of unseen texts, relatedness {like.relatedness:.1f}, training "
        f"shows {percent(like.shown)}"
    )
    if found.tokens is not None:
        yield f"tokenizers: {found.tokens.outlook}, {found.tokens.reason}"
    yield (
        f"cost over {cost.network}: training {units.seconds(cost.training_seconds).text}, "
        f"{units.size(cost.bytes_up).text} up, {units.size(cost.bytes_down).text} down; a query "
        f"{units.seconds(cost.query_seconds).text}, {units.size(round(cost.query_bytes_all)).text}"
    )


def _range(low: float | None, high: float | None) -> str:
    return "unknown" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
