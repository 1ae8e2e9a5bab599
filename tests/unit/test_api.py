"""`align_in_process` and `classify_in_process`: shapes, accuracy, costs, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.pair import TOY_LWE

import securealign
from securealign import LinearAligner, LinearHead, align_in_process, classify_in_process
from securealign.errors import (
    ConfigurationError,
    DependencyError,
    ErrorCode,
    InputError,
    RemoteProtocolError,
    SecurealignError,
    SecurealignWarning,
    SuiteError,
)
from securealign.harness.simulation import built_in_networks
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol.policy.rank import rank_allowance, rank_charge

RANDOM = np.random.default_rng(3)


def embeddings(rows: int, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (Z_A, Z_B) that share a latent space."""
    latent = RANDOM.normal(size=(rows, 12))
    z_b = latent @ RANDOM.normal(size=(12, source)) + 0.3 * RANDOM.normal(size=(rows, source)) + 0.5
    z_a = latent @ RANDOM.normal(size=(12, target)) + 0.3 * RANDOM.normal(size=(rows, target))
    return z_a, z_b


Z_A, Z_B = embeddings(60, 5, 4)
WEIGHT, BIAS, QUERIES = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3), RANDOM.normal(size=(7, 4))
TOTALS = {
    *("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"),
    *("client_seconds", "provider_seconds", "network_seconds", "total_seconds"),
}


@pytest.fixture(scope="module")
def alignment():
    return align_in_process(Z_A, Z_B, suite=TOY_LWE)


@pytest.fixture(scope="module")
def classification():
    return classify_in_process(WEIGHT, BIAS, QUERIES, suite=TOY_LWE)


def test_a_process_with_both_parties_is_charged_nothing():
    # A provider would refuse the first session already: 34 of 29.
    assert rank_charge(15, 60) > rank_allowance(60, 0.5)
    z_a, z_b = embeddings(60, 14, 4)
    for _ in range(3):
        assert align_in_process(z_a, z_b, suite="plaintext").alignment.weight.shape == (14, 4)


def test_shapes_are_those_of_the_contract(alignment, classification):
    assert alignment.alignment.weight.shape == (5, 4)
    assert alignment.alignment.bias.shape == (4,)
    assert classification.logits.shape == (7, 3)
    assert classification.labels.shape == (7,)
    np.testing.assert_array_equal(classification.labels, classification.logits.argmax(axis=1))


@pytest.mark.parametrize("link", ["softmax", "ovr", "huber"])
def test_scores_are_the_probabilities_of_the_head(link):
    names = tuple(map(str, range(WEIGHT.shape[1])))
    expected = LinearHead(WEIGHT, BIAS, names, link=link).predict_proba(QUERIES).max(axis=1)
    run = classify_in_process(WEIGHT, BIAS, QUERIES, suite="plaintext", link=link)
    np.testing.assert_allclose(run.scores, expected, atol=1e-3)


@pytest.mark.parametrize("options", [{"link": "margin"}, {"output": "label"}])
def test_margins_and_labels_alone_have_no_scores(options):
    assert classify_in_process(WEIGHT, BIAS, QUERIES, suite="plaintext", **options).scores is None


@pytest.mark.parametrize(
    "name", ["align_in_process", "classify_in_process", "LinearHead", "AlignmentMap", "OutputModeError"]
)
def test_the_entry_points_are_exported(name):
    assert name in securealign.__all__
    assert getattr(securealign, name)


def test_the_map_under_encryption_is_the_map_in_clear():
    """The real parameters: 2,500 public texts, errors of 2 per mille at most, and the same labels."""
    z_a, z_b = embeddings(2500, 40, 48)
    secure = align_in_process(z_a, z_b, suite="lwe").alignment
    clear = LinearAligner().fit(z_b, z_a).map_
    assert np.linalg.norm(secure.weight - clear.weight) <= 2e-3 * np.linalg.norm(clear.weight)
    assert np.linalg.norm(secure.bias - clear.bias) <= 2e-3 * np.linalg.norm(clear.bias)
    head = RANDOM.normal(size=(48, 6))
    queries = z_b[:20]
    run = classify_in_process(head, np.zeros(6), secure.apply(queries), suite="lwe", pool_slots=16)
    np.testing.assert_allclose(run.logits, secure.apply(queries) @ head, atol=1e-2)
    np.testing.assert_array_equal(run.labels, (clear.apply(queries) @ head).argmax(axis=1))


@pytest.mark.parametrize("ridge", [1e-9, 1e-3, "auto"])
def test_dead_and_equal_dimensions_do_no_harm(ridge):
    """Along them only rounding is left to encrypt, which must neither overflow nor fill the map with noise."""
    z_a, z_b = Z_A, np.hstack([Z_B, Z_B[:, :1], np.zeros((60, 1)), np.full((60, 1), 0.1)])
    secure = align_in_process(z_a, z_b, suite=TOY_LWE, ridge=ridge).alignment
    clear = LinearAligner(ridge).fit(z_b, z_a).map_
    np.testing.assert_allclose(secure.apply(z_b), clear.apply(z_b), atol=5e-3)


@pytest.mark.parametrize("suite", ["plaintext", PlaintextSuite(), TOY_LWE], ids=["by name", "plaintext", "toy"])
def test_every_suite_gives_the_same_results(suite):
    run = align_in_process(Z_A, Z_B, suite=suite, ridge=0.5)
    clear = LinearAligner(ridge=0.5).fit(Z_B, Z_A).map_
    np.testing.assert_allclose(run.alignment.weight, clear.weight, atol=2e-3)
    assert run.alignment.metadata["rows"] == 60
    logits = classify_in_process(WEIGHT, BIAS, QUERIES, suite=suite).logits
    np.testing.assert_allclose(logits, QUERIES @ WEIGHT + BIAS, atol=1e-3)


@pytest.mark.parametrize("name", ["lwe-128", "lwe"])
def test_a_parameter_set_is_a_suite_too(name):
    run = classify_in_process(WEIGHT, BIAS, QUERIES[:1], suite=name, pool_slots=1)
    np.testing.assert_allclose(run.logits, QUERIES[:1] @ WEIGHT + BIAS, atol=1e-3)


def test_the_penalty_is_passed_on():
    weak, strong = (align_in_process(Z_A, Z_B, suite="plaintext", ridge=ridge).alignment for ridge in (1e-3, 1e4))
    assert np.linalg.norm(strong.weight) < np.linalg.norm(weak.weight)
    automatic = align_in_process(Z_A, Z_B, suite="plaintext", ridge="auto").alignment
    np.testing.assert_allclose(automatic.weight, LinearAligner(ridge="auto").fit(Z_B, Z_A).map_.weight, atol=1e-10)


@pytest.mark.parametrize("kind", ["ridge", "soft"])
@pytest.mark.parametrize("ridge", [0.5, "auto"])
def test_the_map_of_one_process_leads_to_raw_embeddings_of_the_provider(kind, ridge):
    shifted, source = Z_A * np.array([1, 1e3, 1e-2, 1]) + 1e3, Z_B + 50
    run = align_in_process(shifted, source, suite=TOY_LWE, ridge=ridge, map=kind).alignment
    clear = LinearAligner(ridge, kind).fit(source, shifted).map_
    error = (run.apply(source) - clear.apply(source)) / shifted.std(axis=0)
    assert np.abs(error).max() < 1e-2
    assert "space" not in run.metadata


def test_repeated_rows_count_once_under_auto_and_as_often_as_they_are_given_under_a_penalty():
    again = [*range(60), *range(20)]
    once, twice = (
        align_in_process(z_a, z_b, suite="plaintext", ridge="auto").alignment
        for z_a, z_b in ((Z_A, Z_B), (Z_A[again], Z_B[again]))
    )
    assert twice.metadata["rows"] == once.metadata["rows"] == 60
    np.testing.assert_allclose(twice.weight, once.weight, atol=1e-10)
    given = align_in_process(Z_A[again], Z_B[again], suite="plaintext", ridge=0.5).alignment
    assert given.metadata["rows"] == 80
    np.testing.assert_allclose(given.weight, LinearAligner(0.5).fit(Z_B[again], Z_A[again]).map_.weight, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_neither_scale_nor_offset_of_queries_costs_precision(scale, offset):
    queries = scale * (np.random.default_rng(1).normal(size=(20, 4)) + offset)
    weight = WEIGHT / scale
    # As a head is fitted: its bias takes off what the offset adds.
    bias = BIAS - queries.mean(axis=0) @ weight
    logits = classify_in_process(weight, bias, queries, suite=TOY_LWE).logits
    np.testing.assert_allclose(logits, queries @ weight + bias, atol=2e-3)


def test_a_bias_that_all_classes_share_costs_no_precision():
    logits = classify_in_process(WEIGHT, BIAS + 1e6, QUERIES, suite=TOY_LWE).logits
    np.testing.assert_allclose(logits, QUERIES @ WEIGHT + BIAS + 1e6, atol=2e-3)


def test_labels_within_the_error_of_encryption_are_warned_of():
    """Two classes that differ in the last digits alone."""
    weight = np.hstack([WEIGHT[:, :1], WEIGHT[:, :1] * (1 + 1e-9), WEIGHT[:, 1:2]])
    with pytest.warns(SecurealignWarning, match="of the labels cannot be trusted"):
        classify_in_process(weight, np.array([0.0, 0.0, -100.0]), QUERIES, suite=TOY_LWE)


def test_labels_that_can_be_trusted_are_not_warned_of(recwarn):
    call(classify_in_process, suite=TOY_LWE)
    assert not recwarn.list


def test_rows_that_may_not_belong_together_are_warned_of():
    shuffled = Z_B[np.random.default_rng(5).permutation(60)]
    with pytest.warns(SecurealignWarning, match="may not belong together"):
        call(align_in_process, z_b=shuffled)


@pytest.mark.parametrize("run", ["alignment", "classification"])
def test_stats_hold_every_figure_in_total_and_by_phase(run, request):
    stats = request.getfixturevalue(run).stats
    for name in TOTALS:
        parts = [getattr(phase, name) for phase in stats.phases.values()]
        assert getattr(stats, name) == pytest.approx(sum(parts))
        assert all(part >= 0 for part in parts)
    assert stats.bytes_up > 0
    assert stats.bytes_down > 0
    assert stats.network_seconds == 0
    assert stats.total_seconds == pytest.approx(stats.client_seconds + stats.provider_seconds)
    described = json.loads(json.dumps(stats.as_dict()))
    assert set(described) == TOTALS | {"phases", "messages"}
    assert all(set(phase) == TOTALS for phase in described["phases"].values())


def test_phases_of_training(alignment):
    phases = alignment.stats.phases
    assert set(phases) == {"handshake", "keys", "upload", "result", "confirm", "solve"}
    assert phases["keys"].bytes_up > 64 * 6 * 10
    assert phases["upload"].bytes_up > 60 * 6 * 10
    assert phases["result"].bytes_down > 64 * 4 * 5
    assert (phases["solve"].bytes_up, phases["solve"].bytes_down, phases["solve"].rounds) == (0, 0, 0)
    # A greeting, the result of the upload, and the confirmation.
    assert alignment.stats.rounds == 3


def test_phases_of_inference(classification):
    phases = classification.stats.phases
    assert set(phases) == {"handshake", "keys", "upload", "offline", "online", "confirm"}
    assert phases["online"].rounds == phases["offline"].rounds == 1
    assert classification.stats.rounds == 4
    # Seven queries of five residues up, seven answers of three down.
    assert 7 * 5 * 10 <= phases["online"].bytes_up <= 7 * 5 * 10 + 120
    assert 7 * 3 * 5 <= phases["online"].bytes_down <= 7 * 3 * 5 + 120


@pytest.mark.parametrize("network", ["loopback", "wan", built_in_networks()["wan"]], ids=str)
def test_a_network_changes_times_and_nothing_else(network):
    """What is sent and what comes out are the same, and the network takes its round trips."""
    least = 3 * 0.04 if network != "loopback" else 0
    for here, there in (
        (call(align_in_process), call(align_in_process, network=network)),
        (call(classify_in_process), call(classify_in_process, network=network)),
    ):
        assert here.stats.network_seconds == 0
        assert there.stats.network_seconds > least
        assert there.stats.total_seconds >= there.stats.network_seconds + there.stats.client_seconds
        for name in ("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"):
            assert getattr(here.stats, name) == getattr(there.stats, name)
        assert here.stats.messages == there.stats.messages


def call(function, **changes):
    training, inference = {"z_a": Z_A, "z_b": Z_B}, {"weight": WEIGHT, "bias": BIAS, "queries": QUERIES}
    arguments = training if function is align_in_process else inference
    return function(**(arguments | {"suite": "plaintext"} | changes))


EACH = pytest.mark.parametrize("function", [align_in_process, classify_in_process])


@EACH
def test_unknown_networks_are_refused(function):
    with pytest.raises(ConfigurationError, match="no network named 'pigeon'"):
        call(function, network="pigeon")


@EACH
def test_without_a_package_that_simulates_networks_the_error_says_what_to_install(function, monkeypatch):
    monkeypatch.setattr("securealign.api.entry_points", lambda group: ())
    with pytest.raises(DependencyError, match="simulates networks") as caught:
        call(function, network="wan")
    assert "securealign[harness]" in caught.value.hint


@EACH
def test_unknown_suites_are_refused_with_those_that_exist(function):
    with pytest.raises(SuiteError, match=r"no suite named 'rot13'.*lwe.*plaintext"):
        call(function, suite="rot13")


def broken(matrix: np.ndarray, value: float) -> np.ndarray:
    copy = matrix.copy()
    copy[2, 1] = value
    return copy


BAD_ALIGNMENTS = {
    "NaN in Z_A": ({"z_a": broken(Z_A, np.nan)}, ErrorCode.NON_FINITE_INPUT, "Z_A .* row 2"),
    "infinity in Z_B": ({"z_b": broken(Z_B, np.inf)}, ErrorCode.NON_FINITE_INPUT, "Z_B .* row 2"),
    "rows that do not pair": ({"z_b": Z_B[:-1]}, ErrorCode.SHAPE_MISMATCH, "Z_B has 59 rows and Z_A has 60"),
    "a vector": ({"z_b": Z_B[:, 0]}, ErrorCode.SHAPE_MISMATCH, "Z_B has shape"),
    "no rows": ({"z_a": Z_A[:0], "z_b": Z_B[:0]}, ErrorCode.SHAPE_MISMATCH, "Z_A has shape"),
    "texts": ({"z_a": [["a"]]}, ErrorCode.INPUT_INVALID, "not numbers"),
}


@pytest.mark.parametrize(("changes", "code", "match"), BAD_ALIGNMENTS.values(), ids=BAD_ALIGNMENTS)
def test_embeddings_that_cannot_be_aligned_are_refused(changes, code, match):
    with pytest.raises(InputError, match=match) as caught:
        call(align_in_process, **changes)
    assert caught.value.code is code


BAD_CLASSIFICATIONS = {
    "NaN in the weight": ({"weight": broken(WEIGHT, np.nan)}, ErrorCode.NON_FINITE_INPUT, "weight"),
    "NaN in the bias": ({"bias": [0.0, np.nan, 0.0]}, ErrorCode.NON_FINITE_INPUT, "bias"),
    "NaN in a query": ({"queries": broken(QUERIES, np.nan)}, ErrorCode.NON_FINITE_INPUT, "query matrix .* row 2"),
    "a bias of another length": ({"bias": BIAS[:2]}, ErrorCode.SHAPE_MISMATCH, "does not fit together"),
    "queries of another dimension": ({"queries": QUERIES[:, :3]}, ErrorCode.SHAPE_MISMATCH, "3 columns where 4"),
    "one query as a vector": ({"queries": QUERIES[0]}, ErrorCode.SHAPE_MISMATCH, "query matrix has shape"),
    "no queries": ({"queries": QUERIES[:0]}, ErrorCode.SHAPE_MISMATCH, "query matrix has shape"),
}


@pytest.mark.parametrize(("changes", "code", "match"), BAD_CLASSIFICATIONS.values(), ids=BAD_CLASSIFICATIONS)
def test_problems_that_cannot_be_classified_are_refused(changes, code, match):
    with pytest.raises(InputError, match=match) as caught:
        call(classify_in_process, **changes)
    assert caught.value.code is code


@pytest.mark.parametrize("ridge", [1e-3, "auto"])
def test_embeddings_that_do_not_vary_are_refused_before_a_session(ridge):
    for changes in ({"z_a": Z_A[:1], "z_b": Z_B[:1]}, {"z_a": np.full_like(Z_A, 0.1)}):
        with pytest.raises(InputError, match="Z_A holds the same embedding in all its rows"):
            call(align_in_process, ridge=ridge, **changes)
    with pytest.raises(InputError, match="Z_B holds the same embedding in all its rows"):
        call(align_in_process, ridge="auto", z_b=np.full_like(Z_B, 0.1))


@pytest.mark.parametrize("rows", [2, 4, 5])
def test_too_few_rows_are_refused_by_the_provider(rows):
    with pytest.raises(RemoteProtocolError, match="too few") as caught:
        align_in_process(Z_A[:rows], Z_B[:rows], suite="plaintext")
    assert caught.value.code is ErrorCode.TOO_FEW_ROWS


@pytest.mark.parametrize("ridge", [0, -1, np.nan, "much"])
def test_penalties_are_checked(ridge):
    with pytest.raises(ConfigurationError, match="ridge penalty"):
        call(align_in_process, ridge=ridge)


@pytest.mark.parametrize("convert", [np.float32, np.float16, np.ndarray.tolist], ids=["float32", "float16", "lists"])
def test_other_types_are_taken(convert):
    def converted(matrix):
        return convert(matrix) if convert is np.ndarray.tolist else matrix.astype(convert)

    run = align_in_process(converted(Z_A), converted(Z_B), suite="plaintext", ridge=1.0)
    np.testing.assert_allclose(run.alignment.weight, LinearAligner(ridge=1.0).fit(Z_B, Z_A).map_.weight, atol=1e-2)
    logits = classify_in_process(converted(WEIGHT), converted(BIAS), converted(QUERIES), suite="plaintext").logits
    np.testing.assert_allclose(logits, QUERIES @ WEIGHT + BIAS, atol=2e-2)


def test_embeddings_on_disk_are_mapped_and_read_in_blocks(tmp_path):
    for name, matrix in (("a", Z_A), ("b", Z_B)):
        np.save(tmp_path / f"{name}.npy", matrix)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "ab"]
    on_disk, in_memory = (
        align_in_process(*both, suite="plaintext", entropy=SeededEntropy(b"disk")).alignment
        for both in (mapped, (Z_A, Z_B))
    )
    np.testing.assert_array_equal(on_disk.weight, in_memory.weight)


@pytest.mark.parametrize("pool_slots", [1, 2, 3, 7, 64])
def test_queries_take_as_many_pools_as_they_need(pool_slots):
    run = classify_in_process(WEIGHT, BIAS, QUERIES, suite=TOY_LWE, pool_slots=pool_slots)
    np.testing.assert_allclose(run.logits, QUERIES @ WEIGHT + BIAS, atol=1e-3)


def test_a_pool_larger_than_a_provider_allows_is_refused():
    with pytest.raises(RemoteProtocolError, match="exceeds 1024") as caught:
        call(classify_in_process, pool_slots=5000)
    assert caught.value.code is ErrorCode.LIMIT_EXCEEDED


def test_given_randomness_makes_a_run_reproducible():
    runs = [align_in_process(Z_A, Z_B, suite=TOY_LWE, entropy=SeededEntropy(b"seed")) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].alignment.weight, runs[1].alignment.weight)
    fresh = align_in_process(Z_A, Z_B, suite=TOY_LWE)
    assert (fresh.alignment.weight != runs[0].alignment.weight).any()


LOGITS = QUERIES @ WEIGHT + BIAS


@pytest.mark.parametrize("suite", ["plaintext", "lwe"])
def test_labels_alone_hold_neither_logits_nor_confidence(suite):
    run = classify_in_process(WEIGHT, BIAS, QUERIES, suite=suite, output="label", pool_slots=8)
    assert run.logits is None
    assert run.confidence is None
    assert run.labels.dtype == np.int64
    np.testing.assert_array_equal(run.labels, LOGITS.argmax(axis=1))
    # The control: in the other mode everything is there but levels of confidence.
    run = classify_in_process(WEIGHT, BIAS, QUERIES, suite=suite, pool_slots=8)
    assert run.logits.shape == (7, 3)
    assert run.confidence is None


@pytest.mark.parametrize("suite", ["plaintext", "lwe"])
@pytest.mark.parametrize("shared", [0.0, 25.0])
def test_thresholds_are_in_the_unit_of_logits_whatever_all_classes_share(suite, shared):
    """What all biases have in common is taken off before encryption, and so it is of thresholds."""
    largest = np.sort(LOGITS.max(axis=1))
    abstain, *levels = (largest[[0, 2, 4]] + largest[[1, 3, 5]]) / 2
    options = {
        "suite": suite,
        "pool_slots": 8,
        "output": "label",
        "abstain_below": abstain + shared,
        "confidence_thresholds": [level + shared for level in levels],
    }
    run = classify_in_process(WEIGHT, BIAS + shared, QUERIES, **options)
    highest = LOGITS.max(axis=1)
    np.testing.assert_array_equal(run.labels, np.where(highest > abstain, LOGITS.argmax(axis=1), -1))
    np.testing.assert_array_equal(run.confidence, (highest[:, None] > levels).sum(axis=1))
    assert (run.labels == -1).sum() == 1
    assert set(run.confidence) == {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"output": "labels"}, "no 'labels'"),
        ({"abstain_below": 1.0}, "belong to labels"),
        ({"output": "label", "confidence_thresholds": [1.0]}, "need abstain_below"),
        ({"output": "label", "abstain_below": 1.0, "confidence_thresholds": [2.0, 2.0]}, "ascend"),
        ({"output": "label", "abstain_below": float("nan")}, "finite"),
    ],
)
def test_outputs_that_do_not_exist_are_refused(changes, match):
    with pytest.raises(ConfigurationError, match=match) as caught:
        call(classify_in_process, **changes)
    assert caught.value.hint
    call(classify_in_process, output="label", abstain_below=1.0, confidence_thresholds=[2.0, 3.0])


def test_a_suite_without_labels_says_so():
    with pytest.raises(SecurealignError) as caught:
        call(classify_in_process, suite="lwe-128q", output="label")
    assert caught.value.code is ErrorCode.OUTPUT_REFUSED
