"""Several runs side by side: the same figures of each, and their ratios to those of the first run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from securealign.harness.report import units
from securealign.harness.report.bars import Bar, Piece, draw
from securealign.harness.report.steps import activity, length
from securealign.harness.report.units import Number, Shown
from securealign.harness.report.words import fact_name, result, run_name
from securealign.harness.runs.records import Kind, Run, Session, Side


@dataclass(frozen=True)
class Cell:
    """A figure of a run, and its ratio to that of the first run, where there is one."""

    figure: Shown
    ratio: Shown | None


@dataclass(frozen=True)
class Row:
    """A figure of all runs; None for a run that does not have it."""

    name: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Figure:
    """Something to compare: its name, how to get it from a session, and how to write it."""

    name: str
    get: Callable[[Session], Number]
    unit: Callable[[Number], Shown]


TIMES = (
    ("client", Figure("Client computes alone", lambda session: _alone(session, "client"), units.seconds)),
    ("provider striped", Figure("Provider computes alone", lambda session: _alone(session, "provider"), units.seconds)),
    ("neutral dotted", Figure("Both compute", lambda session: activity(session).both, units.seconds)),
    ("wait", Figure("Neither computes", lambda session: length(activity(session).idle), units.seconds)),
)
BYTES = (
    ("client", Figure("Payload to the provider", lambda session: session.stats.bytes_up, units.size)),
    ("provider striped", Figure("Payload to the client", lambda session: session.stats.bytes_down, units.size)),
)
FIGURES = (
    Figure("Time in all", lambda session: session.stats.total_seconds, units.seconds),
    *(figure for _, figure in TIMES),
    Figure("Client computes", lambda session: session.stats.client_seconds, units.seconds),
    Figure("Provider computes", lambda session: session.stats.provider_seconds, units.seconds),
    Figure("Network and waiting", lambda session: session.stats.network_seconds, units.seconds),
    *(figure for _, figure in BYTES),
    Figure("On the wire, to the provider", lambda session: session.stats.wire_up, units.size),
    Figure("On the wire, to the client", lambda session: session.stats.wire_down, units.size),
    Figure("Messages", lambda session: session.stats.messages_up + session.stats.messages_down, units.count),
    Figure("Rounds", lambda session: session.stats.rounds, units.count),
)


def numbered(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run that differs from all others."""
    return [f"{number} {run_name(run)}" for number, run in enumerate(runs, 1)]


def kinds(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what is compared of each kind of session that any run has: facts that differ, figures, and drawings."""
    made = []
    for kind in get_args(Kind):
        time, sizes, title = bars(runs, kind, TIMES), bars(runs, kind, BYTES), kind.capitalize()
        if time:
            drawings = {
                "time": draw(f"{kind}-time", f"{title}: time by run", time, units.seconds, "time"),
                "bytes": draw(f"{kind}-bytes", f"{title}: payload by run", sizes, units.size, "bytes"),
            }
            figures = {"different": different_work(runs, kind), "rows": rows(runs, kind)}
            made.append({"kind": kind, **figures, **drawings})
    return made


def rows(runs: Sequence[Run], kind: Kind) -> list[Row]:
    """Return the figures of all sessions of a kind, added up."""
    made = []
    for figure in FIGURES:
        values = [[figure.get(session) for session in _sessions(run, kind)] for run in runs]
        made.append(Row(figure.name, _cells([sum(each) if each else None for each in values], figure.unit)))
    return made


def different_work(runs: Sequence[Run], kind: Kind) -> list[Row]:
    """Return the facts of sessions of a kind, summed over each run, if they are not the same in all runs."""
    made = []
    for name in ("rows", "queries", "dim_a", "dim_b", "classes"):
        values = [[session.number(name) for session in _sessions(run, kind)] for run in runs]
        known = [[value for value in each if value is not None] for each in values]
        if len({tuple(each) for each in known if each}) > 1:
            shown = [Shown(", ".join(units.count(value).text for value in each), str(each)) for each in known]
            cells = (Cell(one, None) if each else None for one, each in zip(shown, known, strict=True))
            made.append(Row(fact_name(name), tuple(cells)))
    return made


def result_rows(runs: Sequence[Run]) -> list[Row]:
    """Return the results that at least one run has as a number."""
    names = dict.fromkeys(name for run in runs for name, value in run.results.items() if not isinstance(value, str))
    made = []
    for name in names:
        values = [run.results.get(name) for run in runs]
        numbers = [None if isinstance(value, str) else value for value in values]
        made.append(Row(name, _cells(numbers, partial(result, name))))
    return made


def bars(runs: Sequence[Run], kind: Kind, parts: Sequence[tuple[str, Figure]]) -> list[Bar]:
    """Return a bar for each run that has sessions of a kind, of parts that are figures with classes to draw them in."""
    made: list[Bar] = []
    base = None
    for name, run in zip(numbered(runs), runs, strict=True):
        sessions = _sessions(run, kind)
        if not sessions:
            continue
        pieces = tuple(Piece(sum(map(figure.get, sessions)), class_) for class_, figure in parts)
        total = sum(piece.value for piece in pieces)
        times = None if base is None else units.ratio(total, base)
        base = total if run is runs[0] else base
        made.append(Bar(name, pieces, (parts[0][1].unit(total), *(("  ", times) if times else ()))))
    return made


def _alone(session: Session, side: Side) -> float:
    acts = activity(session)
    return max(0.0, length(acts.compute[side]) - acts.both)


def _sessions(run: Run, kind: Kind) -> list[Session]:
    return [session for session in run.sessions if session.about.kind == kind]


def _cells(values: Iterable[Number | None], unit: Callable[[Number], Shown]) -> tuple[Cell | None, ...]:
    known = list(values)
    base = known[0]
    return tuple(
        None if value is None else Cell(unit(value), units.ratio(value, base) if base is not None and index else None)
        for index, value in enumerate(known)
    )
