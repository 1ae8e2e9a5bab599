"""The rules of the recommendation as a table, and what a new task is expected to lose."""

from __future__ import annotations

import pytest

from securealign.lab.experiments.compat.evidence import Evidence, Likeness, evidence, expected_loss
from securealign.lab.experiments.compat.probes import Probe
from securealign.lab.experiments.compat.rules import RULES, Advice, recommend

LIKE = Likeness(
    cka=0.6, cka_debiased=0.5, svcca_64=0.5, svcca_64_shuffled=0.0, svcca_64_components=64, svcca_128=0.4,
    svcca_128_shuffled=0.0, svcca_128_components=128, r2_unseen=0.5, relatedness=60.0, refused=False, shown=0.6,
)  # fmt: skip
KNOWN = {"r2_unseen": 0.5, "relatedness": 60.0, "rows_per_dimension": 6.0, "shots": 64}
GOOD = {
    "loss": 0.04, "loss_with_shots": 0.03, "worst": 0.08, "worst_name": "r8", "kept": 0.9, "kept_with_shots": 0.93,
    "provider": 0.8, "mapped": 0.76, "with_shots": 0.77, "alone_64": 0.5, "alone_128": 0.6, "client": 0.8,
}  # fmt: skip


ASKED = {"ratio": 6.0, "shots": 64, "other_map": "ridge"}


def found(**changes):
    return Evidence(**{**KNOWN, "source": "tasks", **GOOD, **changes})


@pytest.mark.parametrize(
    ("changes", "rule", "advice"),
    [
        ({}, "in the paper's range", Advice.ALIGN),
        ({"source": "labels", "with_shots": None, "loss_with_shots": None}, "in the paper's range", Advice.ALIGN),
        ({"worst": 0.15}, "in the paper's range with shots", Advice.SHOTS),
        ({"loss": 0.1, "mapped": 0.7}, "in the paper's range with shots", Advice.SHOTS),
        ({"loss": 0.1, "mapped": 0.7, "loss_with_shots": 0.08, "with_shots": 0.72}, "loses more than the paper's",
         Advice.CARE),
        ({"loss": 0.04, "mapped": 0.51, "with_shots": 0.51}, "no gain", Advice.NOT),
        ({"alone_64": 0.76}, "no gain", Advice.NOT),
        ({"alone_128": 0.78}, "soon matched alone", Advice.CARE),
        ({"alone_128": 0.765}, "in the paper's range with shots", Advice.SHOTS),
        ({"alone_64": None, "alone_128": None}, "in the paper's range", Advice.ALIGN),
        ({"kept": 0.2, "kept_with_shots": 0.4}, "keeps too little", Advice.NOT),
        ({"kept": 0.2, "kept_with_shots": 0.9, "loss": 0.3}, "in the paper's range with shots", Advice.SHOTS),
        ({"kept": 0.2, "kept_with_shots": None, "with_shots": None}, "keeps too little", Advice.NOT),
    ],
)  # fmt: skip
def test_the_first_rule_that_holds_decides(changes, rule, advice):
    recommended = recommend(found(**changes))
    assert (recommended.rule, recommended.advice) == (rule, advice)


@pytest.mark.parametrize(("relatedness", "advice"), [(3.9, Advice.NOT), (-0.5, Advice.NOT), (4.1, Advice.CARE)])
def test_without_labels_the_map_alone_never_says_align(relatedness, advice):
    recommended = recommend(Evidence(source="none", **{**KNOWN, "relatedness": relatedness}))
    assert recommended.advice is advice
    assert any(words.startswith("Labels") for words in recommended.helps)


def test_every_reason_holds_a_figure_and_every_rule_has_its_own_name():
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert any(character.isdigit() for character in rule.says(found())), rule.name


def test_a_reason_says_what_the_client_would_need_alone():
    assert "more than 128 labelled texts" in recommend(found()).reason
    assert "more than 64 labelled texts" in recommend(found(alone_128=None)).reason
    assert "50 % with 64 and 78 % with 128" in recommend(found(alone_128=0.78)).reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"worst": 0.15}, "4.0 points, but 15.0 points on r8."),
        ({"alone_128": 0.765}, "4.0 points, which a client alone reaches with 128 labelled texts (76 %)."),
        ({"loss": 0.1, "mapped": 0.7}, "without, 10.0 points. A client"),
    ],
)
def test_shots_are_advised_with_what_speaks_against_going_without(changes, words):
    assert words in recommend(found(**changes)).reason


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rows_per_dimension": 1.5}, "More public texts: 1.5"),
        ({"rows_per_dimension": 4, "loss": 0.1, "mapped": 0.7}, "More public texts: from 3 to 6"),
        ({"with_shots": 0.8}, "Shots: 64 texts"),
        ({"loss": 0.1, "loss_with_shots": 0.1, "client": 0.6}, "Another encoder"),
        ({"alone_64": 0.76}, "Labels of the client's own"),
        ({"other": 0.8, "other_map": "ridge"}, 'Another map: by map = "ridge", 80 %'),
    ],
)
def test_what_would_help_is_named(changes, word):
    assert any(words.startswith(word) for words in recommend(found(**changes)).helps)


def test_nothing_is_named_where_nothing_is_missing():
    assert recommend(found()).helps == ()


def probe(name, provider, mapped, *, tests=1000, **more):
    lost = round((provider - mapped) * tests)
    return Probe(
        name=name, kind="task", classes=4, trained=600, tests=tests, chance=0.25, provider=provider, mapped=mapped,
        lost=max(0, lost), gained=max(0, -lost), r2=0.5, **more,
    )  # fmt: skip


def test_tasks_count_before_labels_of_the_public_file():
    tasks, labels = [probe("a", 0.9, 0.8), probe("b", 0.7, 0.68)], [probe("c", 0.9, 0.3)]
    both = evidence(tasks, labels, LIKE, **ASKED)
    assert (both.source, both.worst_name) == ("tasks", "a")
    assert both.loss == pytest.approx(0.06)
    assert both.kept == pytest.approx((0.74 - 0.25) / (0.8 - 0.25))
    assert evidence([], labels, LIKE, **ASKED).source == "labels"
    assert evidence([], [], LIKE, **ASKED).source == "none"


def test_a_figure_that_one_probe_lacks_is_unknown():
    tasks = [probe("a", 0.9, 0.8, alone_64=0.5), probe("b", 0.7, 0.68)]
    assert evidence(tasks, [], LIKE, **ASKED).alone_64 is None


def test_the_interval_of_a_new_task_is_wider_than_that_of_the_mean():
    loss = expected_loss([probe("a", 0.9, 0.85), probe("b", 0.9, 0.8), probe("c", 0.9, 0.75), probe("d", 0.9, 0.8)])
    assert loss.new_low < loss.low < loss.mean < loss.high < loss.new_high
    assert loss.mean == pytest.approx(0.1)
    # t of 3 degrees times the standard deviation times sqrt(1 + 1/4).
    assert loss.new_high - loss.mean == pytest.approx(3.1824 * 0.040825 * 1.25**0.5, rel=1e-3)


def test_a_single_probe_says_nothing_of_another_task():
    loss = expected_loss([probe("a", 0.9, 0.85)])
    assert loss.new_low is loss.new_high is None
    assert loss.low < 0.05 < loss.high
    assert expected_loss([]) is None


def test_an_interval_stays_within_what_accuracies_allow():
    loss = expected_loss([probe("a", 0.9, 0.1), probe("b", 0.9, 0.9)])
    assert (loss.new_low, loss.new_high) == (-1.0, 1.0)
