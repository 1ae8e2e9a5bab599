"""A time line of a session: one lane for each party, for each direction of the network, and for waiting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from securealign.harness.report import units
from securealign.harness.report.steps import VIEW_BOX, Activity, Span, Step, length, outline, shares
from securealign.harness.report.templating import drawing
from securealign.harness.report.units import Shown
from securealign.harness.runs.records import RunStarts, Side, Stats

#: Widths of a container in pixels from which the style sheet shows the classes `from-0`, `from-1` and `from-2`.
_WIDTHS = (320, 560, 860)
_CHARACTER = 7.2


@dataclass(frozen=True)
class Lane:
    """One row of a time line: what it shows, in which class, when, and the seconds beside its name."""

    name: str
    class_: str
    spans: Sequence[Span]
    total: Shown

    def busy(self, start: float, end: float) -> Shown:
        """Return the share of a time that the spans cover."""
        return units.share(min(1.0, length(self.spans) / (end - start)))

    def area(self, start: float, end: float) -> str:
        """Return the path of the area under the share of time that the spans cover."""
        return outline(shares(self.spans, start, end))


def lanes(about: RunStarts, activity: Activity, stats: Stats, path: str) -> list[Lane]:
    """Return the lanes that a recording can fill; one side does not know what happens on the other."""

    def computing(side: Side) -> Lane:
        seconds = units.seconds(getattr(stats, f"{side}_seconds"), f"{path}.stats.{side}_seconds")
        return Lane(f"{side.capitalize()} computes", side, activity.compute[side], seconds)

    def travelling(receiver: Side, sender: Side, spans: Sequence[Span]) -> Lane:
        return Lane(f"On the way to the {receiver}", f"{sender} soft", spans, units.seconds(length(spans)))

    own = {"client", "provider"} if about.side == "both" else {about.side}
    idle = "Neither computes" if about.side == "both" else f"The {about.side} waits for the other side"
    made = [
        computing("client"),
        travelling("provider", "client", activity.up),
        travelling("client", "provider", activity.down),
        computing("provider"),
    ]
    waiting = Lane(idle, "wait", activity.idle, units.seconds(length(activity.idle)))
    return [*(lane for lane in made if lane.spans or lane.class_ in own), waiting]


@dataclass(frozen=True)
class _Part:
    """A step in the strip above the lanes: where it begins and how wide it is, as shares of the whole width."""

    number: int
    name: str
    x: float
    width: float

    def labels(self) -> Iterator[tuple[str, str]]:
        """Yield words and their class: the name of the step where it fits, its number where only that fits."""
        full = f"{self.number} {self.name}"
        fits, fits_number = self._from(full), self._from(str(self.number))
        if fits < len(_WIDTHS):
            yield full, f"small from-{fits}"
        if fits_number < fits:
            yield str(self.number), f"small from-{fits_number} until-{fits}"

    def _from(self, words: str) -> int:
        """Return the first of `_WIDTHS` at which words fit, or their number when they never do."""
        needed = len(words) * _CHARACTER + 6
        return next((index for index, pixels in enumerate(_WIDTHS) if pixels * self.width >= needed), len(_WIDTHS))


def draw(name: str, title: str, activity: Activity, steps: Sequence[Step], rows: Sequence[Lane]) -> Markup:
    """Return the time line of a session; the height of a lane is the share of time in which it is busy."""
    start, end = activity.start, max(activity.end, activity.start + 1e-9)
    begins = [*((max(start, step.start) - start) / (end - start) for step in steps), 1.0]
    strip = [
        _Part(index + 1, step.name, begins[index], begins[index + 1] - begins[index])
        for index, step in enumerate(steps)
        if begins[index + 1] > begins[index]
    ]
    ticks = [((tick - start) / (end - start), f"{tick:,.10g}") for tick in units.ticks(start, end)]
    return drawing("timeline", name, title, start, end, strip, rows, ticks, VIEW_BOX)
