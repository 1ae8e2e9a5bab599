"""Plans: what work costs, how figures go on beyond what is simulated, and what leaks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pair import TOY_LWE

from securealign.errors import RemoteProtocolError, SuiteError
from securealign.harness.planning import Speeds, Workload, plan, planner, speeds, speeds_of
from securealign.harness.planning.phantom import ChargedClock, PhantomSuite
from securealign.harness.planning.planner import expected_leak
from securealign.harness.planning.speeds import explain, time_problem
from securealign.harness.simulation import Conditions, Network, built_in_networks
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, LABEL_CALLS
from securealign.he.lwe.parameters import LWE_128, LWE_128Q
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite

KINDS = ("call", "expanded", "multiplied", "moved", "whitened", "products", "read", "factors")
LAN, WAN = (Conditions(network=built_in_networks()[name]) for name in ("lan", "wan"))
QUESTION = Workload(samples=100, dim_a=12, dim_b=8, classes=3, queries=16, batch=4, pool_slots=8)
LABELS = replace(QUESTION, output="label")


def at_speed(seconds_a_call):
    """Speeds under which every call takes as long, whatever it works on."""
    return of_one_kind("call", seconds_a_call)


def of_one_kind(kind, rate):
    rates = {other: rate if other == kind else 0.0 for other in KINDS}
    return Speeds(
        dict.fromkeys(COVARIANCE_CALLS, rates),
        dict.fromkeys(HEAD_CALLS, rates),
        dict.fromkeys(("problem", "solution"), rates),
        dict.fromkeys(HEAD_CALLS + LABEL_CALLS, rates),
    )


def test_work_is_charged_to_the_side_and_the_phase_that_do_it():
    """Products of 1 second each: a covariance under the toy has one for each pair of rows and columns."""
    planned = plan(TOY_LWE, of_one_kind("multiplied", 1.0), QUESTION, LAN).training.stats
    shape = planner.CovarianceShape(rows=100, provider_dim=12, columns=9)
    work = TOY_LWE.covariance_forecast(shape).work
    for phase, side, call, times in (
        ("keys", "client", "key", 1),
        ("upload", "client", "encrypt", 100),
        ("upload", "provider", "absorb", 100),
        ("result", "provider", "finish", 1),
        ("solve", "client", "decrypt", 1),
    ):
        expected = work[call]["multiplied"] * times
        assert getattr(planned.phases[phase], f"{side}_seconds") == pytest.approx(expected, rel=1e-3)


def test_the_clients_mathematics_is_timed_where_rows_that_do_not_pair_would_be_refused():
    timed = time_problem(400, 100, 5)
    assert set(timed) == {"problem", "solution"}
    assert min(timed.values()) > 0


def test_queries_and_their_check_rows_are_charged_one_by_one():
    planned = plan(TOY_LWE, at_speed(10.0), QUESTION, LAN).inference.stats
    online = planned.phases["online"]
    assert online.client_seconds == pytest.approx(18 * (10 + 10), rel=1e-2)
    assert online.provider_seconds == pytest.approx(18 * 10, rel=1e-2)


def test_choices_and_tables_are_charged_once_for_each_pool():
    logits, labels = (plan(TOY_LWE, at_speed(10.0), question, LAN).inference.stats for question in (QUESTION, LABELS))
    pools = 2
    for side, calls in (("client", 2), ("provider", 1)):
        more, less = (getattr(stats.phases["offline"], f"{side}_seconds") for stats in (labels, logits))
        assert more - less == pytest.approx(pools * calls * 10, rel=1e-2)
    counts = {message.type: message.count for message in labels.messages}
    assert (counts["ChoicesChunk"], counts["TablesChunk"]) == (pools, pools)
    assert expected_leak(TOY_LWE, LABELS)["answer_bits"] == 16 * 2 < expected_leak(TOY_LWE, QUESTION)["answer_bits"]


def test_a_slower_machine_and_a_slower_network_take_longer():
    def total(**changes):
        return plan(TOY_LWE, at_speed(0.01), QUESTION, replace(LAN, **changes)).inference.stats.total_seconds

    assert total(client_factor=10) > total() + 0.5
    assert total(provider_factor=10) > total() + 0.5
    assert total(network=WAN.network) > total() + 0.1


@pytest.mark.parametrize("job", ["training", "inference"])
def test_figures_beyond_what_is_simulated_go_on_in_a_line(monkeypatch, job):
    """What is planned in a straight line is what simulating all of it gives."""
    workload = replace(QUESTION, samples=12_288, queries=640)
    calm = Conditions(network=Network(name="calm", round_trip_ms=1, up_mbit=10_000, down_mbit=10_000))
    whole = getattr(plan(TOY_LWE, at_speed(0.0), workload, calm), job).stats
    monkeypatch.setattr(planner, "_MOST_ROWS", 4096)
    monkeypatch.setattr(planner, "_MOST_ROUNDS", 32)
    extended = getattr(plan(TOY_LWE, at_speed(0.0), workload, calm), job).stats
    for figure in ("bytes_up", "bytes_down", "messages_up", "messages_down", "rounds", "wire_up"):
        assert getattr(extended, figure) == pytest.approx(getattr(whole, figure), rel=0.01)
    for mine, theirs in zip(extended.messages, whole.messages, strict=True):
        assert mine.count == pytest.approx(theirs.count, rel=0.01)
        assert isinstance(mine.count, int)


def test_a_plan_survives_json_and_says_everything():
    described = json.loads(json.dumps(plan(TOY_LWE, at_speed(0.0), QUESTION, WAN).as_dict()))
    assert set(described) == {
        *("suite", "parameter_set", "classical_bits", "quantum_bits", "function_private", "network"),
        *("samples", "dim_a", "dim_b", "classes", "queries", "batch", "pool_slots"),
        *("explained", "output", "training", "inference", "leak"),
    }
    for job in ("training", "inference"):
        assert {"bytes_up", "total_seconds", "phases", "messages"} <= set(described[job])
        assert described[job]["client_memory"] > 100 << 20
        assert 0 < described[job]["relative_error"] < 1
    assert described["training"]["map_error"] > described["training"]["relative_error"]


def test_a_problem_that_cannot_be_held_is_refused_as_the_run_would_refuse_it():
    with pytest.raises(SuiteError, match="does not fit"):
        plan(LweSuite(), at_speed(0.0), replace(QUESTION, samples=2_000_000), LAN)
    with pytest.raises(RemoteProtocolError, match="too few"):
        plan(TOY_LWE, at_speed(0.0), replace(QUESTION, samples=8), LAN)


def test_the_leak_is_a_matter_of_rows_and_queries():
    leak = expected_leak(TOY_LWE, QUESTION)
    assert leak["rank"] == 9
    assert leak["rank_over_samples"] == pytest.approx(0.09)
    assert leak["queries_over_head"] == pytest.approx(16 / 13)
    assert leak["answer_bits"] > 16
    assert (leak["rank_charge"], leak["rank_allowance"], leak["sessions_allowed"]) == (21, 49, 2)
    assert expected_leak(TOY_LWE, replace(QUESTION, dim_b=768, samples=3906))["sessions_allowed"] == 0
    assert expected_leak(TOY_LWE, replace(QUESTION, dim_b=768, samples=3906))["samples_needed"] == 3907
    more = expected_leak(TOY_LWE, replace(QUESTION, samples=1000, queries=160))
    assert more["rank_over_samples"] == leak["rank_over_samples"] / 10
    assert more["answer_bits"] == 10 * leak["answer_bits"]


@pytest.mark.parametrize(
    ("parameters", "classical", "core_svp"), [(LWE_128, 149, 118), (LWE_128Q, 250, None)], ids=["lwe-128", "lwe-128q"]
)
def test_what_a_forged_key_leaves_is_the_figure_of_the_specification(parameters, classical, core_svp):
    """docs/lwe-spec.md, section 7: a group of 1,025 columns under any key."""
    suite, workload = LweSuite(parameters), replace(QUESTION, samples=4000, dim_a=8, dim_b=1024, queries=1)
    planned = plan(suite, at_speed(0.0), workload, LAN)
    forged = planned.training.forged_key
    assert int(forged["classical_bits"]) == classical
    assert core_svp is None or round(forged["core_svp_bits"]) == core_svp
    # Fewer columns leave more; labels show what is counted, and nothing of a product.
    assert planned.inference.forged_key["classical_bits"] > forged["classical_bits"]
    assert json.loads(json.dumps(planned.as_dict()))["training"]["forged_key"] == forged
    assert planned.leak["query_bits"] == 18 * 3


def test_a_forged_key_reads_no_more_than_labels_where_answers_are_labels():
    planned = plan(TOY_LWE, at_speed(0.0), LABELS, LAN)
    assert planned.inference.forged_key == {}
    assert planned.leak["query_bits"] == 2


def test_a_share_of_independent_rows_follows_from_the_product_alone():
    """The claim behind `rank_over_samples`: unrelated embeddings, of which the map explains that share all the same."""
    random = np.random.default_rng(0)
    rows, columns = 400, 39
    z_a, z_b = random.standard_normal((rows, 30)), random.standard_normal((rows, columns))
    ones = np.hstack([z_b, np.ones((rows, 1))])
    explained = ones @ np.linalg.lstsq(ones, z_a, rcond=None)[0]
    share = 1 - np.sum((z_a - explained) ** 2) / np.sum(z_a**2)
    leak = expected_leak(TOY_LWE, replace(QUESTION, samples=rows, dim_b=columns))
    assert share == pytest.approx(leak["rank_over_samples"], rel=0.1)


RATES = st.floats(1e-12, 1e-3)


@settings(deadline=None)
@given(st.tuples(RATES, RATES, RATES))
def test_rates_are_found_again_from_what_they_explain(rates):
    true = dict(zip(("call", "multiplied", "moved"), rates, strict=True))
    works = [
        {"call": 1, "multiplied": a * 1000, "moved": b * 100} for a, b in ((1, 1), (1, 50), (70, 2), (40, 90), (9, 9))
    ]
    observed = [(work, sum(true[kind] * amount for kind, amount in work.items())) for work in works]
    found = explain(observed)
    for work, seconds in observed:
        assert sum(found[kind] * amount for kind, amount in work.items()) == pytest.approx(seconds, rel=1e-4)


def test_rates_are_never_negative():
    found = explain([({"call": 1, "moved": 10}, 5.0), ({"call": 1, "moved": 20}, 1.0)])
    assert all(rate >= 0 for rate in found.values())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path))
    return tmp_path / "speeds"


@pytest.fixture
def timed(monkeypatch):
    """How often the machine was timed, which takes no time here."""
    seen = []

    def measure(suite, _progress):
        seen.append(suite.info.parameter_set)
        return at_speed(float(len(seen)))

    monkeypatch.setattr(speeds, "_measure", measure)
    return seen


def test_speeds_are_measured_once_for_each_parameter_set(cache, timed):
    first = speeds_of(TOY_LWE)
    assert speeds_of(TOY_LWE) == first
    assert speeds_of(PlaintextSuite()) != first
    assert len(timed) == 2
    assert speeds_of(TOY_LWE, renew=True) != first
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"covariance": {}, "head": {}, "problem": {}}', "\xff"])
def test_kept_speeds_that_are_none_are_measured_anew(cache, timed, content):
    speeds_of(TOY_LWE)
    (file,) = cache.iterdir()
    file.write_text(content, encoding="latin-1")
    speeds_of(TOY_LWE)
    assert len(timed) == 2
    assert speeds_of(TOY_LWE) == at_speed(2.0)


def test_another_machine_has_speeds_of_its_own(cache, timed, monkeypatch):
    speeds_of(TOY_LWE)
    monkeypatch.setattr(speeds, "_processor", lambda: "another processor")
    speeds_of(TOY_LWE)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "17")
    speeds_of(TOY_LWE)
    assert len(timed) == 3


def test_every_kind_of_work_of_a_suite_gets_a_rate(monkeypatch):
    monkeypatch.setattr(speeds, "_COVARIANCES", ((6, 5), (12, 4)))
    monkeypatch.setattr(speeds, "_HEADS", ((6, 3, 2), (12, 2, 4)))
    monkeypatch.setattr(speeds, "_PROBLEMS", ((30, 4, 5), (60, 8, 5)))
    monkeypatch.setattr(speeds, "_ROWS", 40)
    steps = []
    for suite in (TOY_LWE, PlaintextSuite()):
        measured = speeds._measure(suite, lambda done, total: steps.append((done, total)))
        plan(suite, measured, QUESTION, LAN)
        plan(suite, measured, LABELS, LAN)
        jobs = (measured.covariance, measured.head, measured.label)
        rates = [rate for job in jobs for rates in job.values() for rate in rates.values()]
        assert all(rate >= 0 for rate in rates)
        assert any(rate > 0 for rate in rates)
    assert steps[:9] == [(done, 8) for done in range(9)]


def test_a_charged_clock_goes_on_by_what_is_charged():
    clock = ChargedClock()
    before = clock()
    clock.charge(1000)
    assert 1000 <= clock() - before < 1100


def test_a_phantom_cannot_be_restored():
    phantom = PhantomSuite(TOY_LWE, at_speed(0.0), ChargedClock())
    shape = planner.CovarianceShape(rows=10, provider_dim=2, columns=3)
    covariance = phantom.covariance_evaluator(shape, b"", planner._nothing(10, 2), planner.SystemEntropy())
    assert covariance.checkpoint() is None
    with pytest.raises(NotImplementedError):
        covariance.restore(b"", 0)
    head_shape = planner.HeadShape(provider_dim=2, classes=2, slots=2)
    head = phantom.head_encryptor(head_shape, b"", planner.SystemEntropy())
    assert (head.query_scales(0, 0), head.checkpoint(0)) == (b"", b"")
    with pytest.raises(NotImplementedError):
        head.restore_pool(0, b"")
