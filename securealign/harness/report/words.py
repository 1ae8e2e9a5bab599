"""What was done, in words: the facts of a run and of its sessions, and what to be warned of."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.harness.report import units
from securealign.harness.report.units import Shown
from securealign.harness.runs.records import Kind, Network, Run, RunStarts, Session, SessionStarts

#: A line of text in which some words are figures.
Words = tuple[str | Shown, ...]

_FACTS = {
    "rows": "Public texts, N",
    "queries": "Queries, m",
    "dim_a": "Dimension of the provider's encoder, d_A",
    "dim_b": "Dimension of the client's encoder, d_B",
    "classes": "Classes, K",
    "pool_slots": "Queries prepared at a time",
    "answer_bits": "Bits an answer can carry",
}
_RESULTS = {
    "label_agreement": "Labels equal to those in clear",
    "accuracy": "Labels that are right",
    "accuracy_encrypted": "Labels that are right, under encryption",
    "accuracy_clear": "Labels that are right, in clear",
    "alignment_r2": "R\N{SUPERSCRIPT TWO} of the alignment",
    "map_error": "Relative error of the map",
    "logit_error": "Largest error of a logit",
}


@dataclass(frozen=True)
class Fact:
    """A name and what stands beside it."""

    name: str
    words: Words


def run_name(run: Run) -> str:
    """Return what tells a run from others: its suites and its network."""
    suites = ", ".join(dict.fromkeys(session.about.suite for session in run.sessions))
    return f"{suites} over {run.about.network.name}" if run.about.network else suites


def lead(run: Run) -> str:
    """Return in a sentence what was done."""
    kinds: list[Kind] = [session.about.kind for session in run.sessions]
    does: dict[Kind, str] = {"training": "aligned their encoders", "inference": "classified texts"}
    parts = []
    for kind, did in does.items():
        times = kinds.count(kind)
        if times:
            parts.append(f"{did} in {times:,} sessions" if times > 1 else did)
    return f"Client and provider {' and '.join(parts)}."


def run_facts(run: Run, path: str) -> list[Fact]:
    """Return how a run was made."""
    about = run.about
    facts = [_suites(run, path), Fact("Network", _network(about.network, f"{path}.network", about))]
    if about.network:
        facts.append(Fact("Source of these figures", (units.text(about.network.source, f"{path}.network.source"),)))
    facts.append(Fact("Clock", _clock(about, path)))
    facts.append(Fact("Recorded", _recorded(about, path)))
    if about.started is not None:
        written = about.started.replace("T", " ").replace("Z", " UTC")
        facts.append(Fact("Started", (Shown(written, about.started, f"{path}.started"),)))
    return facts


def session_title(session: Session) -> str:
    """Return what a session was, with its shapes as far as they are known."""
    about = session.about
    names = ("rows", "dim_b", "dim_a") if about.kind == "training" else ("queries", "dim_a", "classes")
    known = {name: units.count(value).text for name in names if (value := session.number(name)) is not None}
    if about.kind == "training":
        parts = [f"{known['rows']} public texts"] if "rows" in known else []
        if {"dim_a", "dim_b"} <= known.keys():
            parts.append(f"{known['dim_b']} to {known['dim_a']} dimensions")
        return ", ".join(["Training", *parts])
    words = {"queries": "queries", "dim_a": "dimensions", "classes": "classes"}
    return ", ".join(["Inference", *(f"{value} {words[name]}" for name, value in known.items())])


def session_facts(session: Session, path: str) -> list[Fact]:
    """Return the shapes of a session, and how it ended."""
    facts = [
        Fact(fact_name(name), (_value(value, f"{path}.facts.{name}"),)) for name, value in session.about.facts.items()
    ]
    facts.append(Fact("Rounds", (units.count(session.stats.rounds, f"{path}.stats.rounds"),)))
    ended: Words = (units.text(session.end.state, f"{path}.end.state"),)
    if session.end.error is not None:
        ended = (*ended, ", ", units.text(session.end.error, f"{path}.end.error"))
    return [*facts, Fact("Ended", ended)]


def fact_name(name: str) -> str:
    """Return what a fact is called."""
    return _FACTS.get(name, _spelled(name))


def results(run: Run, path: str) -> list[Fact]:
    """Return what came out of a run: accuracy and agreement."""
    return [
        Fact(result_name(name), (result(name, value, f"{path}.results.{name}"),)) for name, value in run.results.items()
    ]


def result_name(name: str) -> str:
    """Return what a result is called."""
    return _RESULTS.get(name, _spelled(name))


def result(name: str, value: int | float | str, path: str = "") -> Shown:
    """Return one result, as a percentage where its name says that it is a fraction."""
    fraction = name.endswith(("agreement", "_r2")) or "accuracy" in name
    return units.share(value, path) if fraction and not isinstance(value, str) else _value(value, path)


def warnings(session: Session) -> list[str]:
    """Return what a reader must not overlook."""
    about, said = session.about, []
    if about.classical_bits == 0:
        said.append(
            f"The suite {about.suite} encrypts nothing: each party could read all that the other one sent. "
            "It is for tests."
        )
    elif not about.function_private:
        said.append(
            f"The suite {about.suite} does not hide the provider's side beyond the results: the error of an answer "
            "depends on the head and on the provider's embeddings, and the client can see it."
        )
    if not session.done:
        said.append("The session did not come to its end, so that what follows is what happened until then.")
    if not _consistent(session):
        said.append("The totals of this recording do not add up to its messages: it was altered or is incomplete.")
    return said


def security(about: SessionStarts, path: str) -> Words:
    """Return the security of a session's parameters."""
    if about.classical_bits == 0:
        return (units.count(0, f"{path}.classical_bits"), " bits: nothing is encrypted")
    quantum: Words = (", none claimed against quantum computers",)
    if about.quantum_bits:
        quantum = (", ", units.count(about.quantum_bits, f"{path}.quantum_bits"), " against quantum computers")
    return (units.count(about.classical_bits, f"{path}.classical_bits"), " bits", *quantum)


def _suites(run: Run, path: str) -> Fact:
    words: list[str | Shown] = []
    seen = set()
    for number, session in enumerate(run.sessions):
        about, inside = session.about, f"{path}.sessions.{number}"
        if (about.suite, about.parameter_set) in seen:
            continue
        seen.add((about.suite, about.parameter_set))
        words += ["; "] if words else []
        words += [units.text(about.suite, f"{inside}.suite"), " with the parameters "]
        words += [units.text(about.parameter_set, f"{inside}.parameter_set"), ", ", *security(about, inside)]
    return Fact("Encryption", tuple(words))


def _network(network: Network | None, path: str, about: RunStarts) -> Words:
    if network is None:
        return ("none was simulated" if about.clock == "simulated" else "the real connection of the parties",)
    named = {name: f"{path}.{name}" for name in type(network).model_fields}
    up, down = (
        (units.number(rate, named[name]), " Mbit/s") if rate is not None else ("unlimited",)
        for rate, name in ((network.up_mbit, "up_mbit"), (network.down_mbit, "down_mbit"))
    )
    return (
        "simulated, profile ", units.text(network.name, named["name"]),
        ": round trip ", units.number(network.round_trip_ms, named["round_trip_ms"]),
        " ms, jitter ", units.number(network.jitter_ms, named["jitter_ms"]),
        " ms, ", *up, " to the provider, ", *down, " to the client, loss ", _loss(network.loss, named["loss"]),
    )  # fmt: skip


def _loss(value: float, path: str) -> Shown:
    return Shown(f"{100 * value:.3g}%", value, path)


def _clock(about: RunStarts, path: str) -> Words:
    simulated = "simulated: compute is measured, time on the network is calculated"
    words: Words = (simulated if about.clock == "simulated" else "measured",)
    for side, factor in (("client", about.client_factor), ("provider", about.provider_factor)):
        if factor != 1:
            words = (*words, f"; compute of the {side} times ", units.number(factor, f"{path}.{side}_factor"))
    return words


def _recorded(about: RunStarts, path: str) -> Words:
    side = f"the {about.side}'s side alone, to which compute of the other side is waiting"
    words: Words = (
        "both parties" if about.side == "both" else side,
        ", by ",
        units.text(about.command, f"{path}.command"),
        " of securealign ",
    )
    words = (*words, units.text(about.securealign, f"{path}.securealign"))
    return words if about.seed is None else (*words, ", seed ", units.count(about.seed, f"{path}.seed"))


def _value(value: int | float | str, path: str) -> Shown:
    return units.text(value, path) if isinstance(value, str) else units.number(value, path)


def _spelled(name: str) -> str:
    words = name.replace("_", " ").strip() or name
    return words[0].upper() + words[1:]


def _consistent(session: Session) -> bool:
    stats = session.stats
    for up, said in ((True, (stats.bytes_up, stats.messages_up)), (False, (stats.bytes_down, stats.messages_down))):
        sizes = [message.bytes for message in session.messages if (message.direction == "up") == up]
        if (sum(sizes), len(sizes)) != said:
            return False
    return True
