"""Names and values of what a run file holds, as the page shows them."""

from securealign.harness.report import units
from securealign.harness.report.steps import when
from securealign.harness.report.units import Number, Shown
from securealign.harness.runs.records import Kind, Run, Session, SessionStarts

#: Stands for a number that the recording does not hold.
UNKNOWN = Shown("not recorded", "")

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
#: What a session of each kind did, and the facts in its title with the words after each.
_DONE: dict[Kind, str] = {"training": "aligned their encoders", "inference": "classified texts"}
_TITLES: dict[Kind, dict[str, str]] = {
    "training": {"rows": "public texts"},
    "inference": {"queries": "queries", "dim_a": "dimensions", "classes": "classes"},
}


def run_name(run: Run) -> str:
    """Return a name of a run: its suites and its network."""
    names = ", ".join(dict.fromkeys(session.about.suite for session in run.sessions))
    return f"{names} over {run.about.network.name}" if run.about.network else names


def lead(run: Run) -> str:
    """Return in a sentence what was done."""
    kinds = [session.about.kind for session in run.sessions]
    times = {did: kinds.count(kind) for kind, did in _DONE.items()}
    parts = [did if number == 1 else f"{did} in {number:,} sessions" for did, number in times.items() if number]
    return f"Client and provider {' and '.join(parts)}."


def session_title(session: Session) -> str:
    """Return what a session was, with its shapes as far as they are known."""
    kind = session.about.kind
    parts = [
        f"{units.count(value).text} {words}"
        for name, words in _TITLES[kind].items()
        if (value := session.number(name)) is not None
    ]
    dim_a, dim_b = session.number("dim_a"), session.number("dim_b")
    if kind == "training" and dim_a is not None and dim_b is not None:
        parts.append(f"{units.count(dim_b).text} to {units.count(dim_a).text} dimensions")
    return ", ".join([kind.capitalize(), *parts])


def fact_name(name: str) -> str:
    """Return what a fact is called."""
    return _FACTS.get(name, _spelled(name))


def result_name(name: str) -> str:
    """Return what a result is called."""
    return _RESULTS.get(name, _spelled(name))


def result(name: str, value: Number | str, path: str = "") -> Shown:
    """Return one result, as a percentage where its name says that it is a fraction."""
    fraction = name.endswith(("agreement", "_r2")) or "accuracy" in name
    return units.share(value, path) if fraction and not isinstance(value, str) else value_of(value, path)


def value_of(value: Number | str, path: str) -> Shown:
    """Return a text or a number without a unit."""
    return units.text(value, path) if isinstance(value, str) else units.number(value, path)


def loss(value: float, path: str) -> Shown:
    """Return the share of packets that are lost."""
    return Shown(f"{100 * value:.3g}%", value, path)


def moment(value: str, path: str) -> Shown:
    """Return a time in ISO 8601 as people write it."""
    return Shown(value.replace("T", " ").replace("Z", " UTC"), value, path)


def suites(run: Run) -> list[tuple[int, SessionStarts]]:
    """Return the first session of each suite and parameter set, with its number."""
    firsts: dict[tuple[str, str], tuple[int, SessionStarts]] = {}
    for number, session in enumerate(run.sessions):
        firsts.setdefault((session.about.suite, session.about.parameter_set), (number, session.about))
    return list(firsts.values())


def recorded(session: Session, name: str, path: str = "") -> Shown:
    """Return a fact of a session that is a number, named when `path` is given."""
    value = session.number(name)
    return UNKNOWN if value is None else units.count(value, f"{path}.facts.{name}" if path else "")


def product(one: Number | None, other: Number | None) -> Shown:
    """Return the product of two numbers, unless one is not known."""
    return UNKNOWN if one is None or other is None else units.count(one * other)


def matrix(session: Session, rows: str, columns: str) -> Shown:
    """Return the shape of a matrix, given the facts that name its height and width."""
    height, width = session.number(rows), session.number(columns)
    if height is None or width is None:
        return UNKNOWN
    return units.text(f"{height:,} \N{MULTIPLICATION SIGN} {width:,} numbers")


def times_of(session: Session, kind: str) -> list[float]:
    """Return when messages of a type travelled."""
    return [when(message) for message in session.messages if message.type == kind]


def consistent(session: Session) -> bool:
    """Return whether the totals of a session are those of its messages."""
    stats = session.stats
    for way, said in (("up", (stats.bytes_up, stats.messages_up)), ("down", (stats.bytes_down, stats.messages_down))):
        sizes = [message.bytes for message in session.messages if message.direction == way]
        if (sum(sizes), len(sizes)) != said:
            return False
    return True


def _spelled(name: str) -> str:
    words = name.replace("_", " ").strip() or name
    return words[0].upper() + words[1:]
