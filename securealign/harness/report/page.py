"""Rendering runs as one page that loads nothing from outside."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from securealign.errors import ConfigurationError
from securealign.harness.report import bars, comparison, timeline, units, words
from securealign.harness.report.bars import Bar, Piece
from securealign.harness.report.steps import activity, steps
from securealign.harness.report.templating import environment, report_style, styled
from securealign.harness.runs.records import Run, Session

#: Runs on a page; a screen has no room to compare more.
MAX_RUNS = 16
#: Sessions of all runs that are drawn; the page holds only the totals of the others.
MAX_DRAWN = 16
#: Further sessions of a run that are listed with their totals.
MAX_LISTED = 200
#: Functions of `words` that the templates call.
_FUNCTIONS = (
    *("lead", "fact_name", "result_name", "result", "value_of", "loss", "moment", "suites"),
    *("recorded", "product", "matrix", "times_of", "consistent"),
)


def _session_view(run: Run, number: int, index: int) -> dict[str, Any]:
    """Return what the page shows of one session of the run with an index."""
    session, id_, path = run.sessions[number], f"run-{index + 1}-session-{number + 1}", _path(index, number)
    title, made, acts = words.session_title(session), steps(session), activity(session)
    lanes = timeline.lanes(run.about, acts, session.stats, path)
    return {
        "id": id_,
        "path": path,
        "title": title,
        "session": session,
        "steps": made,
        "lanes": lanes,
        "timeline": timeline.draw(f"{id_}-timeline", f"Time line of {title}", acts, made, lanes),
        "bytes": _bytes(session, f"{id_}-bytes", f"Bytes of {title}, by phase and direction", path),
        "scales": _scales(run, session, f"{id_}-scale"),
    }


def _run_view(run: Run, name: str, index: int, drawn: int) -> dict[str, Any]:
    """Return what the page shows of the run with an index: `drawn` sessions at most, totals of more, and their rest."""
    rest = list(enumerate(run.sessions))[drawn:]
    return {
        "id": f"run-{index + 1}",
        "path": f"runs.{index}",
        "name": name,
        "run": run,
        "sessions": [_session_view(run, number, index) for number in range(len(run.sessions[:drawn]))],
        "listed": [
            (words.session_title(session), session, f"{_path(index, number)}.stats")
            for number, session in rest[:MAX_LISTED]
        ],
        "unlisted": len(rest[MAX_LISTED:]),
    }


def render(runs: Sequence[Run]) -> str:
    """Return the page of these runs; raises `ConfigurationError` when there are too many."""
    if len(runs) > MAX_RUNS:
        raise ConfigurationError(
            f"A page compares at most {MAX_RUNS} runs, and these are {len(runs)}.", hint="Make several pages."
        )
    several, drawn = len(runs) > 1, max(1, MAX_DRAWN // len(runs))
    names = comparison.numbered(runs) if several else [words.run_name(run) for run in runs]
    made = environment(__package__)
    made.globals.update({name: getattr(words, name) for name in _FUNCTIONS}, unknown=words.UNKNOWN)
    return made.get_template("page.html").render(
        **styled(report_style()),
        names=names,
        runs=[_run_view(run, name, index, drawn) for index, (run, name) in enumerate(zip(runs, names, strict=True))],
        kinds=comparison.kinds(runs) if several else [],
        results=comparison.result_rows(runs) if several else [],
    )


def _path(index: int, number: int) -> str:
    return f"runs.{index}.sessions.{number}"


def _bytes(session: Session, name: str, title: str, path: str) -> Markup | None:
    made = []
    for phase, costs in session.stats.phases.items():
        inside = f"{path}.stats.phases.{phase}"
        for towards, way, class_ in (("provider", "up", "client"), ("client", "down", "provider striped")):
            payload, wire = getattr(costs, f"bytes_{way}"), getattr(costs, f"wire_{way}")
            if payload or wire:
                pieces = (Piece(payload, class_), Piece(max(0, wire - payload), "wire"))
                shown = units.size(payload, f"{inside}.bytes_{way}"), units.size(wire, f"{inside}.wire_{way}")
                made.append(Bar(f"{phase}, to {towards}", pieces, (shown[0], ", wire ", shown[1])))
    return bars.draw(name, title, made, units.size, "bytes") if made else None


def _scales(run: Run, session: Session, name: str) -> list[tuple[str, Markup]]:
    """Return drawings of numbers with their limits: how much of Z_A, or of the head, the client can compute."""
    made: list[tuple[str, Markup]] = []

    def add(title: str, bar: str, figure: units.Shown, limit: tuple[units.Number, str], axis: str = "number") -> None:
        drawn = Bar(bar, (Piece(figure.number, "neutral"),), (figure,))
        unit = units.number if axis == "number" else units.share
        made.append((title, bars.draw(f"{name}-{len(made) + 1}", title, [drawn], unit, axis, limit=limit)))

    rows, dim_a, dim_b, queries = (session.number(fact) for fact in ("rows", "dim_a", "dim_b", "queries"))
    if session.about.kind == "training":
        r2 = run.results.get("alignment_r2")
        if isinstance(r2, int | float):
            title = "How much of Z_A follows from the product"
            add(title, "Share of Z_A", units.share(r2), (1, "all of Z_A"), "share of variance")
        if rows is not None and dim_b is not None:
            title = "Public texts against d_B + 1, at which all of Z_A would follow"
            add(title, "Public texts, N", units.count(rows), (dim_b + 1, f"d_B + 1 = {dim_b + 1:,}"))
    elif queries is not None and dim_a is not None:
        title = "Queries against d_A + 1, which determine the head"
        add(title, "Queries of this session", units.count(queries), (dim_a + 1, f"d_A + 1 = {dim_a + 1:,}"))
    return made
