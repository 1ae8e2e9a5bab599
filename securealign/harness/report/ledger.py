"""What each side saw of the other in a session, with the numbers, and what it never sees.

Follows the leakage functions of docs/threat-model.md. A suite that encrypts nothing, or that does not hide the
provider's side, hides less, and the ledger then says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securealign.harness.report import units
from securealign.harness.report.steps import when
from securealign.harness.report.units import Number, Shown
from securealign.harness.runs.records import Run, Session

#: Stands for a number that the recording does not hold.
UNKNOWN = Shown("not recorded", "")


@dataclass(frozen=True)
class Seen:
    """Something that a side saw, how much of it, and what that means."""

    what: str
    figure: Shown
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """A number against another that it is to be judged by."""

    title: str
    name: str
    value: Number
    figure: Shown
    limit: Number
    limit_name: str
    is_share: bool = False


@dataclass(frozen=True)
class View:
    """One side: what it saw, what it never sees, and scales to judge by."""

    seen: tuple[Seen, ...]
    never: str
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """Both sides of a session."""

    provider: View
    client: View


def ledger(run: Run, session: Session, path: str) -> Ledger:
    """Return what the sides saw in a session whose figures have names that begin with `path`."""
    if session.about.kind == "training":
        return Ledger(_training_provider(session, path), _training_client(run, session, path))
    return Ledger(_inference_provider(session, path), _inference_client(session, path))


def _training_provider(session: Session, path: str) -> View:
    seen = [
        Seen("public texts, N", _fact(session, "rows", path), "known to both, and compared by their digest"),
        Seen("dimension of the client's encoder, d_B", _fact(session, "dim_b", path)),
        *_traffic(session, path),
    ]
    if session.about.classical_bits == 0:
        seen.append(Seen("the client's embeddings of the public texts", _all(session, "rows", "dim_b"), "in clear"))
        return View(tuple(seen), "the client's private texts, which never enter the protocol")
    return View(tuple(seen), "private texts, the client's embeddings, the map, labels")


def _training_client(run: Run, session: Session, path: str) -> View:
    rows, dim_a, dim_b = (session.number(name) for name in ("rows", "dim_a", "dim_b"))
    leaked = run.results.get("alignment_r2")
    product = UNKNOWN if dim_a is None or dim_b is None else units.count(dim_a * (dim_b + 1))
    seen = [
        Seen("dimension of the provider's encoder, d_A", _fact(session, "dim_a", path)),
        Seen(
            "numbers of the product Z_A\N{MODIFIER LETTER CAPITAL T} [Z_B 1]",
            product,
            "d_A \N{MULTIPLICATION SIGN} (d_B + 1), of the embeddings of the public texts",
        ),
        Seen("binary exponents of the norms of the columns of Z_A", _fact(session, "dim_a"), "one for each dimension"),
    ]
    scales = []
    if isinstance(leaked, int | float):
        figure = units.share(leaked)
        seen.append(Seen("share of Z_A that follows from the product", figure, "the R\N{SUPERSCRIPT TWO} of the map"))
        scales.append(
            Scale(
                "How much of Z_A follows from the product",
                "Share of Z_A",
                leaked,
                figure,
                1,
                "all of Z_A",
                is_share=True,
            )
        )
    if rows is not None and dim_b is not None:
        times = "" if rows > dim_b + 1 else ": too few, the product gives Z_A away"
        seen.append(
            Seen("texts for each column of [Z_B 1]", units.number(rows / (dim_b + 1)), f"N against d_B + 1{times}")
        )
        figure, name = units.count(rows), f"d_B + 1 = {dim_b + 1:,}"
        scales.append(
            Scale(
                "Public texts against d_B + 1, at which all of Z_A would follow",
                "Public texts, N",
                rows,
                figure,
                dim_b + 1,
                name,
            )
        )
    never = "the head, its training texts, the provider's encoder"
    if session.about.function_private:
        never += ", what of Z_A does not follow from the product"
    return View(tuple(seen), never, tuple(scales))


def _inference_provider(session: Session, path: str) -> View:
    seen = [
        Seen("queries, m", _fact(session, "queries", path), _times(session)),
        Seen("queries prepared at a time", _fact(session, "pool_slots", path)),
        *_traffic(session, path),
    ]
    if session.about.classical_bits == 0:
        seen.append(Seen("the mapped embeddings of the queries", _all(session, "queries", "dim_a"), "in clear"))
        return View(tuple(seen), "the texts themselves, which never enter the protocol")
    return View(tuple(seen), "texts, their embeddings, the map, logits, labels")


def _inference_client(session: Session, path: str) -> View:
    queries, dim_a, classes, bits = (session.number(name) for name in ("queries", "dim_a", "classes", "answer_bits"))
    logits = UNKNOWN if queries is None or classes is None else units.count(queries * classes)
    carried = UNKNOWN if queries is None or bits is None else units.count(queries * bits)
    each = "" if bits is None else f"at most {bits:,} in each answer"
    seen = [
        Seen("classes, K", _fact(session, "classes", path)),
        Seen("logits", logits, "m \N{MULTIPLICATION SIGN} K"),
        Seen("bits that the answers can carry", carried, each),
        Seen("binary exponent of the norm of the head", units.count(1)),
    ]
    scales: Sequence[Scale] = ()
    if queries is not None and dim_a is not None:
        enough = dim_a + 1
        seen.append(Seen("queries that determine the head exactly", units.count(enough), _distance(queries, enough)))
        name = f"d_A + 1 = {enough:,}"
        scales = (
            Scale(
                "Queries against d_A + 1, which determine the head",
                "Queries of this session",
                queries,
                units.count(queries),
                enough,
                name,
            ),
        )
    never = "the provider's training texts, its encoder"
    if session.about.function_private:
        never = f"the head other than through its logits, {never}"
    return View(tuple(seen), never, tuple(scales))


def _distance(queries: Number, enough: Number) -> str:
    if queries < enough:
        return f"d_A + 1 independent ones; this session is {enough - queries:,} short of them, others count as well"
    return (
        f"d_A + 1 independent ones; this session asked {units.plain(queries / enough)} times as many, "
        "so that the client can compute the head"
    )


def _traffic(session: Session, path: str) -> list[Seen]:
    stats = session.stats
    return [
        Seen("suite", units.text(session.about.suite, f"{path}.suite")),
        Seen("bytes from the client", units.size(stats.bytes_up, f"{path}.stats.bytes_up"), _held(session)),
        Seen(
            "messages from the client",
            units.count(stats.messages_up, f"{path}.stats.messages_up"),
            "their time, and the address and certificate of the client",
        ),
    ]


def _held(session: Session) -> str:
    return "in clear" if session.about.classical_bits == 0 else "ciphertexts and keys to compute with them"


def _times(session: Session) -> str:
    asked = [when(message) for message in session.messages if message.type == "Query"]
    return f"and their time, from second {min(asked):,.2f} to {max(asked):,.2f}" if asked else "and their time"


def _fact(session: Session, name: str, path: str = "") -> Shown:
    value = session.number(name)
    return UNKNOWN if value is None else units.count(value, f"{path}.facts.{name}" if path else "")


def _all(session: Session, rows: str, columns: str) -> Shown:
    height, width = session.number(rows), session.number(columns)
    if height is None or width is None:
        return UNKNOWN
    return units.text(f"{height:,} \N{MULTIPLICATION SIGN} {width:,} numbers")
