"""Putting runs into the template: one page that asks for nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from securealign.errors import ConfigurationError
from securealign.harness.report import bars, comparison, sequence, timeline, units, words
from securealign.harness.report.activity import activity
from securealign.harness.report.bars import Bar, Piece
from securealign.harness.report.ledger import UNKNOWN, Ledger, Scale, ledger
from securealign.harness.report.steps import Step, steps
from securealign.harness.report.timeline import Lane
from securealign.harness.report.words import Fact
from securealign.harness.runs.records import Run, Session, Stats

#: Runs on a page; more could not be compared on a screen.
MAX_RUNS = 16
#: Sessions of all runs that are drawn; of the others, the page holds the totals.
MAX_DRAWN = 16
#: Further sessions of a run that are listed with their totals.
MAX_LISTED = 200

_TEMPLATES = "templates"


@dataclass(frozen=True)
class SessionView:
    """What the template shows of a session."""

    id: str
    path: str
    title: str
    about: Session
    facts: list[Fact]
    warnings: list[str]
    steps: list[Step]
    ledger: Ledger
    sequence: Markup
    timeline: Markup
    bytes: Markup | None
    lanes: list[Lane]
    scales: list[tuple[str, Markup]]


@dataclass(frozen=True)
class RunView:
    """What the template shows of a run."""

    id: str
    name: str
    file: str
    lead: str
    facts: list[Fact]
    results: list[Fact]
    totals: list[Fact]
    sessions: list[SessionView]
    listed: list[tuple[str, Stats, str]]
    unlisted: int


@dataclass(frozen=True)
class KindView:
    """What the template compares of the sessions of a kind."""

    kind: str
    different: list[comparison.Row]
    rows: list[comparison.Row]
    time: Markup
    bytes: Markup


def render(runs: Sequence[Run]) -> str:
    """Return the page of these runs; raises `ConfigurationError` when there are too many."""
    if len(runs) > MAX_RUNS:
        raise ConfigurationError(
            f"A page compares at most {MAX_RUNS} runs, and these are {len(runs)}.", hint="Make several pages."
        )
    style = resources.files(__package__).joinpath(_TEMPLATES).joinpath("page.css").read_text(encoding="utf-8")
    names = comparison.numbered(runs) if len(runs) > 1 else [words.run_name(run) for run in runs]
    drawn = max(1, MAX_DRAWN // len(runs))
    environment = Environment(
        loader=PackageLoader(__package__, _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        style=Markup(style),  # noqa: S704 - a file of this package
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        runs=[_run(run, name, index, drawn) for index, (run, name) in enumerate(zip(runs, names, strict=True))],
        kinds=_kinds(runs) if len(runs) > 1 else [],
        results=comparison.result_rows(runs) if len(runs) > 1 else [],
        names=names,
        **_functions(),
    )


def _functions() -> dict[str, Any]:
    return {"size": units.size, "seconds": units.seconds, "count": units.count, "result_name": words.result_name}


def _run(run: Run, name: str, index: int, drawn: int) -> RunView:
    path, id_ = f"runs.{index}", f"run-{index + 1}"
    rest = run.sessions[drawn:]
    return RunView(
        id=id_,
        name=name,
        file=run.file,
        lead=words.lead(run),
        facts=words.run_facts(run, path),
        results=words.results(run, path),
        totals=_totals(run),
        sessions=[
            _session(run, session, f"{path}.sessions.{number}", f"{id_}-session-{number + 1}")
            for number, session in enumerate(run.sessions[:drawn])
        ],
        listed=[
            (words.session_title(session), session.stats, f"{path}.sessions.{number}.stats")
            for number, session in enumerate(rest[:MAX_LISTED], drawn)
        ],
        unlisted=len(rest[MAX_LISTED:]),
    )


def _totals(run: Run) -> list[Fact]:
    every = [session.stats for session in run.sessions]
    client = units.seconds(sum(stats.client_seconds for stats in every))
    provider = units.seconds(sum(stats.provider_seconds for stats in every))
    return [
        Fact("Time in all", (units.seconds(sum(stats.total_seconds for stats in every)),)),
        Fact("Client computes", (client if client.value or run.about.side != "provider" else UNKNOWN,)),
        Fact("Provider computes", (provider if provider.value or run.about.side != "client" else UNKNOWN,)),
        Fact("Network and waiting", (units.seconds(sum(stats.network_seconds for stats in every)),)),
        Fact("Sent to the provider", (units.size(sum(stats.bytes_up for stats in every)),)),
        Fact("Sent to the client", (units.size(sum(stats.bytes_down for stats in every)),)),
    ]


def _session(run: Run, session: Session, path: str, id_: str) -> SessionView:
    title, made, acts = words.session_title(session), steps(session), activity(session)
    rows = timeline.lanes(run.about, acts, session.stats, path)
    saw = ledger(run, session, path)
    return SessionView(
        id=id_,
        path=path,
        title=title,
        about=session,
        facts=words.session_facts(session, path),
        warnings=words.warnings(session),
        steps=made,
        ledger=saw,
        sequence=sequence.draw(f"{id_}-sequence", f"Messages of {title}", made),
        timeline=timeline.draw(f"{id_}-timeline", f"Time line of {title}", acts, made, rows),
        bytes=_bytes(session, f"{id_}-bytes", f"Bytes of {title}, by phase and direction", path),
        lanes=rows,
        scales=[
            (scale.title, _scale(scale, f"{id_}-scale-{number}"))
            for number, scale in enumerate([*saw.provider.scales, *saw.client.scales], 1)
        ],
    )


def _bytes(session: Session, name: str, title: str, path: str) -> Markup | None:
    made = []
    for phase, costs in session.stats.phases.items():
        inside = f"{path}.stats.phases.{phase}"
        for towards, payload, wire, way, class_ in (
            ("provider", costs.bytes_up, costs.wire_up, "up", "client"),
            ("client", costs.bytes_down, costs.wire_down, "down", "provider striped"),
        ):
            if payload or wire:
                pieces = (Piece(payload, class_), Piece(max(0, wire - payload), "wire"))
                figures = (
                    units.size(payload, f"{inside}.bytes_{way}"),
                    ", wire ",
                    units.size(wire, f"{inside}.wire_{way}"),
                )
                made.append(Bar(f"{phase}, to {towards}", pieces, figures))
    return bars.draw(name, title, made, units.size, "bytes") if made else None


def _scale(scale: Scale, name: str) -> Markup:
    bar = Bar(scale.name, (Piece(scale.value, "neutral"),), (scale.figure,))
    unit = units.share if scale.is_share else units.number
    limit = (scale.limit, scale.limit_name)
    return bars.draw(name, scale.title, [bar], unit, "share of variance" if scale.is_share else "number", limit=limit)


def _kinds(runs: Sequence[Run]) -> list[KindView]:
    made = []
    for kind in comparison.KINDS:
        time = comparison.bars(runs, kind, comparison.TIMES)
        if time:
            sizes = comparison.bars(runs, kind, comparison.BYTES)
            title = kind.capitalize()
            made.append(
                KindView(
                    kind=kind,
                    different=comparison.different_work(runs, kind),
                    rows=comparison.rows(runs, kind),
                    time=bars.draw(f"{kind}-time", f"{title}: time by run", time, units.seconds, "time"),
                    bytes=bars.draw(f"{kind}-bytes", f"{title}: payload by run", sizes, units.size, "bytes"),
                )
            )
    return made
