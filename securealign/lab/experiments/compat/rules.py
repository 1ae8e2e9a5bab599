"""The recommendation: rules in order, each with the figure that decided; the first that holds is taken.

Thresholds come from the paper, from chance, and from 12 ordered pairs of built-in encoders on four tasks, which
docs/compat.md lists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from securealign.alignment.regression import RELATED
from securealign.lab.experiments.compat.evidence import Evidence
from securealign.lab.experiments.compat.setting import ROWS_PER_DIMENSION

#: The paper's maps lose 0.1 to 6 points (Table 1); what loses no more works as its pairs do.
PAPER_LOSS = 0.06
#: On the worst task: a mean within range may hide one that fails. Twice the paper's.
MOST_LOSS = 2 * PAPER_LOSS
#: Left of what the head knows beyond chance. A map that keeps less than half gives labels that are mostly the
#: provider's errors and the map's; unrelated encoders keep about none, which sampling may lift to a tenth.
LEAST_KEPT = 0.5
#: Three seeds of shots move a mean by a point and a half (paper; here alike): less is no gain over working alone.
WORTH = 0.02
#: Public texts for each dimension of the client's encoder up to which accuracy was seen to grow.
PLENTY = 6


class Advice(Enum):
    """What to do with a pair."""

    ALIGN = "align"
    SHOTS = "align with shots"
    CARE = "try, with care"
    NOT = "do not align"


@dataclass(frozen=True)
class Rule:
    """When advice is given, and the sentence that gives the figure for it."""

    name: str
    advice: Advice
    holds: Callable[[Evidence], bool]
    says: Callable[[Evidence], str]


@dataclass(frozen=True)
class Recommendation:
    """The advice, the rule that gave it, the reason in a sentence, and what else to do, the most useful first."""

    advice: Advice
    rule: str
    reason: str
    helps: tuple[str, ...]


def recommend(found: Evidence) -> Recommendation:
    """Return what the first rule that holds says."""
    rule = next(rule for rule in RULES if rule.holds(found))
    helps = tuple(dict.fromkeys(words(found) for holds, words in HELPS if holds(found, rule.advice)))
    return Recommendation(rule.advice, rule.name, rule.says(found), helps)


def _at_most(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _less(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def _gains(reached: float | None, alone: float | None, margin: float = 0.0) -> bool:
    """Return whether an accuracy is above another by a margin, or the other is unknown."""
    return reached is not None and (alone is None or reached > alone + margin)


def _best(found: Evidence) -> float:
    """Return the better of both mapped accuracies."""
    return max(found.mapped or 0.0, found.with_shots or 0.0)


def _even(found: Evidence) -> str:
    """Return that shots are counted in, where they are."""
    return (
        f" even with {found.shots} shots" if found.with_shots is not None and found.with_shots == _best(found) else ""
    )


def percent(value: float | None) -> str:
    """Return a share as whole per cents."""
    return "unknown" if value is None else f"{100 * value:.0f} %"


def points(value: float | None) -> str:
    """Return a difference of accuracies in points."""
    return "unknown" if value is None else f"{100 * value:.1f} points"


def _ratio(found: Evidence) -> str:
    return f"{found.rows_per_dimension:.1f}"


RULES: tuple[Rule, ...] = (
    Rule(
        "unrelated",
        Advice.NOT,
        lambda e: e.source == "none" and e.relatedness < RELATED,
        lambda e: f"The public embeddings of both sides are related by {e.relatedness:.1f} deviations of what chance "
        f"gives; below {RELATED:g}, rows do not belong together, or the encoders have next to nothing in common.",
    ),
    Rule(
        "no labels",
        Advice.CARE,
        lambda e: e.source == "none",
        lambda e: f"The map explains {percent(max(0.0, e.r2_unseen))} of unseen public embeddings, but no task with "
        "labels could be tried, and what a map explains does not tell what it costs in accuracy.",
    ),
    Rule(
        "keeps too little",
        Advice.NOT,
        lambda e: _less(max(e.kept or 0.0, e.kept_with_shots or 0.0), LEAST_KEPT),
        lambda e: f"The map keeps {percent(max(0.0, e.kept or 0.0, e.kept_with_shots or 0.0))} of what the provider's "
        f"head knows beyond chance; below {percent(LEAST_KEPT)}, most of it is gone.",
    ),
    Rule(
        "no gain",
        Advice.NOT,
        lambda e: not _gains(_best(e), e.alone_64, WORTH),
        lambda e: f"Through the map, {percent(_best(e))} of labels are right{_even(e)}; with 64 labelled texts of "
        f"its own, the client alone reaches {percent(e.alone_64)}.",
    ),
    Rule(
        "in the paper's range",
        Advice.ALIGN,
        lambda e: _at_most(e.loss, PAPER_LOSS) and _at_most(e.worst, MOST_LOSS) and _gains(e.mapped, e.alone_128),
        lambda e: f"Through the map, the provider's head is right on {percent(e.mapped)} of texts instead of "
        f"{percent(e.provider)}: {points(e.loss)} lost, within the {points(PAPER_LOSS)} of the paper's pairs. "
        + _alone_says(e),
    ),
    Rule(
        "in the paper's range with shots",
        Advice.SHOTS,
        lambda e: _at_most(e.loss_with_shots, PAPER_LOSS) and _gains(e.with_shots, e.alone_128),
        lambda e: f"With {e.shots} texts of the task shared, {points(e.loss_with_shots)} are lost, within the "
        f"{points(PAPER_LOSS)} of the paper's pairs; without, {points(e.loss)}{_why_shots(e)}. " + _alone_says(e),
    ),
    Rule(
        "soon matched alone",
        Advice.CARE,
        lambda e: not _gains(_best(e), e.alone_128),
        lambda e: f"Through the map, {percent(_best(e))} of labels are right{_even(e)}, and the client alone needs few "
        f"labels for that: it reaches {percent(e.alone_64)} with 64 and {percent(e.alone_128)} with 128. Labels may be "
        "cheaper than aligning.",
    ),
    Rule(
        "loses more than the paper's",
        Advice.CARE,
        lambda e: True,
        lambda e: f"The map costs {points(e.loss)} on average ({percent(e.provider)} to {percent(e.mapped)}) and "
        f"{points(e.worst)} at worst, on {e.worst_name}; the paper's pairs lose {points(PAPER_LOSS)} at most. "
        + _alone_says(e),
    ),
)  # fmt: skip


def _why_shots(found: Evidence) -> str:
    """Return what speaks against aligning without shots, where the mean loss does not."""
    if not _at_most(found.loss, PAPER_LOSS):
        return ""
    if not _at_most(found.worst, MOST_LOSS):
        return f", but {points(found.worst)} on {found.worst_name}"
    return f", which a client alone reaches with 128 labelled texts ({percent(found.alone_128)})"


def _alone_says(found: Evidence) -> str:
    """Return what a client would need to reach as much without the provider, once it is known to need more."""
    if found.alone_64 is None:
        return ""
    return f"A client alone needs more than {64 if found.alone_128 is None else 128} labelled texts to match that."


#: When a piece of advice applies, and its words, the most useful first.
HELPS: tuple[tuple[Callable[[Evidence, Advice], bool], Callable[[Evidence], str]], ...] = (
    (
        lambda e, advice: e.rows_per_dimension < ROWS_PER_DIMENSION,
        lambda e: f"More public texts: {_ratio(e)} for each dimension of the client's encoder are few. From 1 to "
        f"{ROWS_PER_DIMENSION}, our pairs gained 9 to 18 points, and training shows less of what the provider hides.",
    ),
    (
        lambda e, advice: ROWS_PER_DIMENSION <= e.rows_per_dimension < PLENTY and advice in {Advice.CARE, Advice.SHOTS},
        lambda e: f"More public texts: from {ROWS_PER_DIMENSION} to {PLENTY} for each dimension, our pairs gained 1 to "
        f"7 points; these are {_ratio(e)}.",
    ),
    (
        lambda e, advice: e.source == "none",
        lambda e: "Labels: give both encoders by name or folder, or a public file with a field label.",
    ),
    (
        lambda e, advice: _gains(e.with_shots, e.mapped, WORTH) and advice is not Advice.NOT,
        lambda e: f"Shots: {e.shots} texts of the task, shared by the provider in clear, raise accuracy from "
        f"{percent(e.mapped)} to {percent(e.with_shots)}.",
    ),
    (
        lambda e, advice: _gains(e.other, e.mapped, WORTH),
        lambda e: f'Another map: by map = "{e.other_map}", {percent(e.other)} of labels are right instead of '
        f"{percent(e.mapped)}.",
    ),
    (
        lambda e, advice: e.client is not None and e.provider is not None and e.client < e.provider - PAPER_LOSS
        and advice in {Advice.NOT, Advice.CARE},
        lambda e: f"Another encoder on the client's side: with all labels, this one reaches {percent(e.client)} where "
        f"the provider's reaches {percent(e.provider)}, and no map adds what it does not see.",
    ),
    (
        lambda e, advice: advice is Advice.NOT and e.alone_64 is not None and e.alone_64 >= _best(e) - WORTH,
        lambda e: "Labels of the client's own: a few dozen go as far as this provider would.",
    ),
    (
        lambda e, advice: advice in {Advice.CARE, Advice.SHOTS},
        lambda e: "Public texts closer to the private ones: the map is only as good as the texts it has seen.",
    ),
)  # fmt: skip
