"""The recommendation: rules in order, each with the figure that decided; the first that holds is taken.

The sentences are in `templates/advice.txt`, each named by its rule or piece of advice.
Thresholds come from the paper, from chance, and from 12 ordered pairs of built-in encoders on four tasks, which
docs/compat.md lists.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache

from jinja2 import Environment

from securealign.alignment.regression import RELATED
from securealign.harness.report import templating
from securealign.lab.experiments.compat.evidence import Evidence
from securealign.lab.experiments.compat.setting import ROWS_PER_DIMENSION


@cache
def environment() -> Environment:
    """Return the environment of this package's templates, which write numbers as the report does."""
    made = templating.environment(__package__)
    made.filters.update(
        percent=lambda value: "unknown" if value is None else f"{100 * value:.0f} %",
        points=lambda value: "unknown" if value is None else f"{100 * value:.1f} points",
    )
    made.globals.update(signed=signed, points=lambda value: signed(100 * value, 1))
    return made


def signed(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign, and none before zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


#: The paper's maps lose 0.1 to 6 points (Table 1).
PAPER_LOSS = 0.06
#: Limit for the worst task, twice the paper's: a mean within range may hide a task that fails.
MOST_LOSS = 2 * PAPER_LOSS
#: Least share of the head's accuracy beyond chance that the map must keep. Below half, most labels are errors of the
#: provider or of the map; unrelated encoders keep about none, and up to a tenth by chance.
LEAST_KEPT = 0.5
#: Least gain over working alone: three seeds of shots move a mean by 1.5 points (in the paper and here).
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
    """When advice is given."""

    name: str
    advice: Advice
    holds: Callable[[Evidence], bool]

    def says(self, found: Evidence) -> str:
        """Return the reason, with the figure that decided."""
        return _sentence(re.sub(r"\W", "_", self.name), found)


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
    helps = tuple(_sentence(name, found) for name, holds in HELPS.items() if holds(found, rule.advice))
    return Recommendation(rule.advice, rule.name, rule.says(found), helps)


def _sentence(name: str, found: Evidence) -> str:
    """Return what the macro of this name writes, on one line."""
    module = environment().get_template("advice.txt").make_module({
        "e": found, "best": _best(found), "related": RELATED, "least_kept": LEAST_KEPT, "paper_loss": PAPER_LOSS,
        "most_loss": MOST_LOSS, "enough": ROWS_PER_DIMENSION, "plenty": PLENTY, "at_most": _at_most,
    })  # fmt: skip
    return " ".join(str(getattr(module, name)()).split())


def _at_most(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _gains(reached: float | None, alone: float | None, margin: float = 0.0) -> bool:
    """Return whether an accuracy is above another by a margin, or the other is unknown."""
    return reached is not None and (alone is None or reached > alone + margin)


def _best(found: Evidence) -> float:
    """Return the better of both mapped accuracies."""
    return max(found.mapped or 0.0, found.with_shots or 0.0)


RULES: tuple[Rule, ...] = (
    Rule("unrelated", Advice.NOT, lambda e: e.source == "none" and e.relatedness < RELATED),
    Rule("no labels", Advice.CARE, lambda e: e.source == "none"),
    Rule("keeps too little", Advice.NOT, lambda e: max(e.kept or 0.0, e.kept_with_shots or 0.0) < LEAST_KEPT),
    Rule("no gain", Advice.NOT, lambda e: not _gains(_best(e), e.alone_64, WORTH)),
    Rule(
        "in the paper's range",
        Advice.ALIGN,
        lambda e: _at_most(e.loss, PAPER_LOSS) and _at_most(e.worst, MOST_LOSS) and _gains(e.mapped, e.alone_128),
    ),
    Rule(
        "in the paper's range with shots",
        Advice.SHOTS,
        lambda e: _at_most(e.loss_with_shots, PAPER_LOSS) and _gains(e.with_shots, e.alone_128),
    ),
    Rule("soon matched alone", Advice.CARE, lambda e: not _gains(_best(e), e.alone_128)),
    Rule("loses more than the paper's", Advice.CARE, lambda e: True),
)

#: When a piece of advice applies, the most useful first.
HELPS: dict[str, Callable[[Evidence, Advice], bool]] = {
    "far_more_texts": lambda e, advice: e.rows_per_dimension < ROWS_PER_DIMENSION,
    "more_texts": lambda e, advice: (
        ROWS_PER_DIMENSION <= e.rows_per_dimension < PLENTY and advice in {Advice.CARE, Advice.SHOTS}
    ),
    "labels": lambda e, advice: e.source == "none",
    "shots": lambda e, advice: _gains(e.with_shots, e.mapped, WORTH) and advice is not Advice.NOT,
    "another_map": lambda e, advice: _gains(e.other, e.mapped, WORTH),
    "another_encoder": lambda e, advice: (
        e.client is not None and e.client < (e.provider or 0.0) - PAPER_LOSS and advice in {Advice.NOT, Advice.CARE}
    ),
    "own_labels": lambda e, advice: advice is Advice.NOT and e.alone_64 is not None and e.alone_64 >= _best(e) - WORTH,
    "closer_texts": lambda e, advice: advice in {Advice.CARE, Advice.SHOTS},
}
