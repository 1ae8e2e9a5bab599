"""A plan names the messages of a run byte for byte, whatever the suite, without encrypting anything."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.pair import TOY_LWE

from securealign.api import align_in_process, classify_in_process
from securealign.harness.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.harness.planning.planner import Workload, plan
from securealign.harness.planning.speeds import Speeds
from securealign.harness.simulation import Conditions, built_in_networks
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, CovarianceForecast, HeadForecast
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.plaintext import PlaintextSuite
from securealign.he.registry import DEFAULT_SUITE, REGISTRY

#: Made-up embeddings that share no texts, or too little to tell.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")

KINDS = (
    "call", "expanded", "multiplied", "moved", "whitened", "made", "sent", "products", "read", "factors"
)  # fmt: skip
#: Nothing takes any time.
FREE = dict.fromkeys(KINDS, 0.0)
NO_TIME = Speeds(
    dict.fromkeys(COVARIANCE_CALLS, FREE), dict.fromkeys(HEAD_CALLS, FREE), dict.fromkeys(("problem", "solution"), FREE)
)
LAN = Conditions(network=built_in_networks()["lan"])
#: Rows that end within a message and within a tile; queries that end within a pool and within a round trip.
SMALL = Workload(samples=70, dim_a=20, dim_b=9, classes=4, queries=11, batch=3, pool_slots=4)
COUNTS = ("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds")


def suite_named(name):
    if name == "toy":
        return TOY_LWE
    entry = REGISTRY[name]
    if reason := entry.unavailable():
        if name in os.environ.get("SECUREALIGN_REQUIRE_SUITES", "").split(","):
            pytest.fail(f"The suite {name!r} is required here: {reason}")
        pytest.skip(reason)
    return entry.make()


def run(suite, workload):
    """Return the figures of both sessions when they really run."""
    z_a, z_b = synthetic_embeddings(workload.samples, workload.dim_a, workload.dim_b)
    weight, bias = synthetic_head(workload.dim_a, workload.classes)
    training = align_in_process(z_a, z_b, suite=suite, ridge="auto")
    queries = np.zeros((workload.queries, workload.dim_a))
    inference = classify_in_process(
        weight, bias, queries, suite=suite, batch=workload.batch, pool_slots=workload.pool_slots
    )
    return training.stats, inference.stats


@pytest.mark.parametrize("name", ["toy", *(name for name in REGISTRY if name != DEFAULT_SUITE)])
def test_a_plan_has_the_bytes_and_messages_of_the_run(name):
    suite = suite_named(name)
    planned = plan(suite, NO_TIME, SMALL, LAN)
    for real, expected in zip(run(suite, SMALL), (planned.training.stats, planned.inference.stats), strict=True):
        for figure in COUNTS:
            assert {phase: getattr(stats, figure) for phase, stats in expected.phases.items()} == {
                phase: getattr(stats, figure) for phase, stats in real.phases.items()
            }
        assert expected.messages == real.messages


@pytest.mark.parametrize("rows", [2047, 2048, 2049, 5000])
def test_rows_are_cut_into_messages_at_the_same_places(rows):
    workload = Workload(samples=rows, dim_a=3, dim_b=60, classes=2, queries=1, batch=1)
    for suite in (TOY_LWE, PlaintextSuite()):
        assert plan(suite, NO_TIME, workload, LAN).training.stats.messages == run(suite, workload)[0].messages


@pytest.mark.parametrize("name", ["toy", *(name for name in REGISTRY if name != DEFAULT_SUITE)])
def test_a_forecast_describes_every_call_and_a_small_error(name):
    suite = suite_named(name)
    covariance = suite.covariance_forecast(CovarianceShape(rows=50, provider_dim=8, columns=6))
    head = suite.head_forecast(HeadShape(provider_dim=8, classes=3, slots=4))
    assert set(covariance.work) == set(COVARIANCE_CALLS)
    assert set(head.work) == set(HEAD_CALLS)
    for forecast in (covariance, head):
        assert 0 < forecast.relative_error < 1e-4
        assert forecast.client_memory > 0 < forecast.provider_memory
        assert all(amount > 0 for work in forecast.work.values() for amount in work.values())
        assert {kind for work in forecast.work.values() for kind in work} <= set(KINDS)


@pytest.mark.parametrize("kind", [CovarianceForecast, HeadForecast])
def test_a_forecast_without_one_of_its_calls_is_refused(kind):
    from dataclasses import fields

    given = {field.name: 1 for field in fields(kind)} | {"work": {"key": {"call": 1}}}
    with pytest.raises(ValueError, match="describes the calls"):
        kind(**given)
