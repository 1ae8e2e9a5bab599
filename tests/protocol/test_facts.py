"""What a machine says its session is about: what it knows at the time, and the same at both ends in the end."""

from __future__ import annotations

import pytest
from support.pair import TOY_LWE, InferenceCase, TrainingCase

CASES = {
    "training": (
        TrainingCase(),
        {"rows": 12, "dim_b": 4},
        {},
        {"rows": 12, "dim_a": 3, "dim_b": 4},
    ),
    "inference": (InferenceCase(), {"dim_a", "pool_slots", "queries"}, set(), None),
}


@pytest.mark.parametrize(("case", "client", "provider", "both"), CASES.values(), ids=CASES)
def test_facts_become_complete_with_the_handshake(case, client, provider, both):
    fresh = case.pair()
    done = case.finished()
    for party, known in ((fresh.client, client), (fresh.provider, provider)):
        assert party.suite is None
        assert party.suite_name == ""
        assert (party.facts if isinstance(known, dict) else set(party.facts)) == known
    assert done.client.facts == done.provider.facts
    assert done.client.suite == done.provider.suite
    assert done.client.suite_name == "plaintext"
    if both is not None:
        assert done.client.facts == both
    else:
        assert set(done.client.facts) == {"dim_a", "classes", "pool_slots", "queries", "answer_bits"}


def test_the_error_of_a_logit_is_known_once_the_scale_of_the_head_is():
    case = InferenceCase(suites=(TOY_LWE,))
    assert case.pair().client.logit_error == 0
    assert case.finished().client.logit_error > 0
