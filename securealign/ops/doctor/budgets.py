"""What the public texts and the policy allow one client: training sessions, and how much of the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.client.config import ClientSettings
from securealign.errors import SecurealignError
from securealign.he.registry import get_suite
from securealign.ops.doctor.findings import Finding, fine, warning
from securealign.protocol.policy.privacy import Privacy, sessions_within
from securealign.protocol.policy.rank import rank_allowance, rank_charge, rows_needed, sessions_allowed
from securealign.protocol.policy.rules import Rules
from securealign.protocol.policy.sharing import sharing_warning

#: Dimensions of usual encoders: a provider learns those of its clients in their sessions only.
_USUAL_DIMENSIONS = (384, 768, 1024, 1536)


def trainings_of_clients(rows: int, fraction: float) -> Finding:
    """Return how often a provider's N public texts let one client train, by the dimension of its encoder."""
    allowed = ", ".join(f"{sessions_allowed(size + 1, rows, fraction)} of {size:,}" for size in _USUAL_DIMENSIONS)
    return fine(
        "rank", f"{rows:,} texts at max_rank_fraction = {fraction:g} allow one client training sessions: {allowed}"
    )


def trainings_under_privacy(privacy: Privacy) -> Finding:
    """Return how often a provider's differential privacy lets one client train over the same texts."""
    return fine(
        "privacy",
        f"epsilon = {privacy.epsilon:g} for each training and max_epsilon = {privacy.max_epsilon:g} at delta = "
        f"{privacy.delta:g} allow one client {sessions_within(privacy):,} over the same texts; those over other data "
        "sets that share texts count as well",
    )


def trainings_of_own(rows: int, dimension: int) -> Finding:
    """Return how often N public texts let this client train at the default fraction; the provider may set another."""
    fraction, columns = Rules().max_rank_fraction, dimension + 1
    sessions = sessions_allowed(columns, rows, fraction)
    told = (
        f"a training session of {dimension:,} dimensions is charged {rank_charge(columns, rows):,} of the "
        f"{rank_allowance(rows, fraction):,} that {rows:,} texts allow at max_rank_fraction = {fraction:g}, the default"
    )
    if sessions:
        return fine("rank", f"{told}: enough for {sessions}")
    needed = rows_needed(columns, fraction)
    return warning("rank", told, f"Agree on {needed:,} public texts, or ask the provider for its max_rank_fraction.")


def known_dimension(file: ClientSettings, of_embeddings: int | None) -> int | None:
    """Return d_B where a file of embeddings, `dimensions` or the map tells it; an encoder would have to be opened."""
    told = of_embeddings or (file.encoder.dimensions if file.encoder is not None else None)
    if told:
        return told
    try:
        return len(AlignmentMap.from_pretrained(file.path(file.alignment.folder)).weight)
    except SecurealignError:
        return None


def check_answers(rules: Rules, suites: Sequence[str], head: LinearHead) -> Iterator[Finding]:
    """Yield a warning where the answers allowed to one client determine the head, if its suites are here."""
    dimension, classes = head.weight.shape
    told = None
    with suppress(SecurealignError):  # the check of suites reports it
        if suites:
            told = sharing_warning(rules, dimension, classes, [get_suite(name) for name in suites])
    if told is not None:
        said, _, hint = told.partition(" To keep it, ")
        yield warning("answers", said, f"To keep it, {hint}")
