"""The experiment as a section of docs/results.md, and in short for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securealign.lab.experiments.markdown import command, picture, table
from securealign.lab.experiments.membership.interval import CHANCE
from securealign.lab.experiments.membership.noise import noise
from securealign.lab.experiments.membership.observe import ATTACKS
from securealign.lab.experiments.membership.tally import (
    LABELS,
    Case,
    above,
    base,
    cases,
    control,
    ends,
    interval,
    named,
    points,
    shown,
)
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: Accuracy and its spread of the attack in the paper, appendix K, on maps with so many shots.
PAPER = (0.530, 0.113)
PAPER_SHOTS = 128


def section(result: Result) -> str:
    """Return the section: method, picture, tables, and what they say."""
    return "\n\n".join(
        [
            "## Membership inference on the map",
            _method(result),
            command(result.command),
            picture("membership-accuracy.svg", "Accuracy of three attacks against what was varied, with chance"),
            picture("membership-alarms.svg", "Right alarms at 1 % of false ones, of the same attacks"),
            _base(result),
            _reading(result),
            _sweeps(result),
            noise(result),
            _controls(result),
            _limits(result),
        ]
    )


def _method(result: Result) -> str:
    settings = result.settings
    known = "; ".join(f"*{name}* knows {what}" for name, what in ATTACKS.items())
    return (
        "In the paper's setting 2 the provider shares texts of its own, the shots, and both parties add them to "
        "the public rows. The client knows them; the question is what somebody learns who is given the map alone. "
        f"Candidates are twice as many training texts of a task as there are shots. Each of {settings['maps']} "
        "shadow maps adds a random half of them, so that every candidate is a member of half of the maps. "
        f"Observers know shadow maps of the same candidates; besides that, {known}. *features* is logistic "
        "regression on norms, statistics of rows and columns, 64 singular values, effective rank and bias. "
        "*residual* is the likelihood ratio of log || z_A - (z_B W + b) ||^2, Gaussian with and without the text "
        "(Carlini et al. 2022). *span* is that ratio of log sin^2 of the angle between the text's row and the "
        "space of the map's deviation from the public one: the normal equations, applied to that deviation, leave "
        f"a matrix whose columns are combinations of the members' rows. All are scored in {settings['folds']} "
        "folds of maps. Intervals are of 95 % over candidates: Student's for accuracy, a bootstrap for AUROC and "
        "for the rate of right alarms at 1 % of false ones (TPR). The source is standardised over the public "
        "rows, and penalties are shares of the mean diagonal of its Gram matrix."
    )


def _base(result: Result) -> str:
    columns = ("accuracy", "AUROC", "TPR", "plain AUROC")
    lines = []
    for case in cases(result):
        for attack in ATTACKS:
            row = base(result, case, attack)
            spread = f"{row['accuracy']:.3f} ± {row['fold spread']:.3f}"
            lines.append([named(case), attack, spread, *(interval(row, name) for name in columns)])
    header = [
        "data, target <- source",
        "attack",
        "± over folds",
        "accuracy",
        "AUROC",
        "TPR at 1 %",
        "AUROC, one threshold",
    ]
    first = base(result, cases(result)[0], "features")
    lines.append(["paper, appendix K", "features", f"{PAPER[0]:.3f} ± {PAPER[1]:.3f}", *[""] * len(columns)])
    return (
        f"With {first['rows']:,} public rows, {first['shots']} shots, a penalty of {first['penalty']:g} and no noise; "
        f"the paper's figure, with {PAPER_SHOTS} shots, is set beside accuracy with its deviation over folds. The last "
        f"column needs no shadow maps, but one threshold on the statistic for all candidates:\n\n"
        + table(header, lines, left=2)
    )


def _reading(result: Result) -> str:
    return "\n".join(f"- {line}" for line in _sentences(result))


def _sentences(result: Result) -> Iterator[str]:
    for attack in ATTACKS:
        rows = [base(result, case, attack) for case in cases(result)]
        low, high = ends(rows)
        yield (
            f"*{attack}* is right in {low:.3f} to {high:.3f} of cases; the interval lies above chance for "
            f"{above(rows, CHANCE)} of {len(rows)} pairs."
        )
    shrunk = [base(result, case, "residual") for case in cases(result)]
    ratios = [row["residual ratio"] for row in shrunk]
    yield (
        f"Adding a text shrinks its squared residual to {min(ratios):.2f} to {max(ratios):.2f} of what it is without, "
        "on geometric average over candidates."
    )


def _sweeps(result: Result) -> str:
    header = ["data, target <- source", "varied", "value", "R^2", "residual ratio", *ATTACKS]
    lines = []
    for case in cases(result):
        for sweep, (quantity, text) in LABELS.items():
            if quantity == "epsilon":
                continue
            for rows in zip(*(points(result, case, sweep, attack) for attack in ATTACKS), strict=True):
                first = rows[0]
                figures = [f"{first['R2']:.2f}", f"{first['residual ratio']:.2f}"]
                values = [interval(row, "accuracy") for row in rows]
                lines.append([named(case), text, shown(first[quantity]), *figures, *values])
    return (
        "Accuracy when one quantity is varied; R^2 is that of the maps on candidates that are not members:\n\n"
        + table(header, lines, left=2)
    )


def _controls(result: Result) -> str:
    names = {"interpolating": "must succeed on residuals", "shuffled": "cannot succeed"}
    lines = []
    for case in cases(result):
        for name, meaning in names.items():
            rows = [control(result, case, name, attack) for attack in ATTACKS]
            values = [interval(row, "accuracy") for row in rows]
            lines.append([named(case), f"{name}: {meaning}", f"{rows[0]['rows']:,}", str(rows[0]["shots"]), *values])
    header = ["data, target <- source", "control", "rows", "shots", *ATTACKS]
    shuffled = [control(result, case, "shuffled", attack) for case in cases(result) for attack in ATTACKS]
    within = sum(row["accuracy low"] <= CHANCE <= row["accuracy high"] for row in shuffled)
    return (
        "Controls: fewer rows than dimensions and a penalty of 1e-6, so that a member's residual is next to nothing; "
        f"and the common setting with members exchanged by coins, for which {within} of {len(shuffled)} intervals hold "
        f"chance.\n\n{table(header, lines, left=2)}"
    )


def _limits(result: Result) -> str:
    count = sum(len(result.table(name)) for name in ("sweeps", "controls"))
    return (
        f"Of {count} intervals of 95 % some miss by chance. Observers here know all candidates, and half of these are "
        "members; one who has other texts of the kind instead would have shadow maps that fit the target map less. "
        "Maps are in double precision and without the rounding of a suite."
    )


def summary(result: Result) -> tuple[str, list[Row]]:
    """Return a title and a short table for the terminal: accuracy of each attack in each setting."""
    rows: list[Row] = []
    for case in cases(result):
        for sweep, (quantity, text) in LABELS.items():
            along = zip(*(points(result, case, sweep, attack) for attack in ATTACKS), strict=True)
            rows += [_line(case, f"{text} = {shown(found[0][quantity])}", found) for found in along]
        rows += [
            _line(case, f"control: {name}", [control(result, case, name, attack) for attack in ATTACKS])
            for name in ("interpolating", "shuffled")
        ]
    return f"Accuracy of membership inference; the paper's is {PAPER[0]:.3f} with features", rows


def _line(case: Case, what: str, found: Sequence[Row]) -> Row:
    accuracies = {row["attack"]: row["accuracy"] for row in found}
    return {"target <- source": f"{case.target} <- {case.source}", "setting": what, "R2": found[0]["R2"]} | accuracies
