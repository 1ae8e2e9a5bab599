"""The suite and an independent implementation of its specification agree bit for bit; malformed blobs fail as named."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.pools import NONCE
from support.toy import ToySuite
from vectors import generate, label_reference, reference, scenarios

from securealign.errors import CiphertextError
from securealign.he.interface import EncryptedRows
from securealign.he.lwe import sampling
from securealign.he.lwe.keys import PublicMatrix
from securealign.he.lwe.parameters import LweParameters


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((generate.FOLDER / f"{name}.json").read_text())
    return loaded


def assert_blob(data: bytes, expected: dict[str, Any]) -> None:
    assert len(data) == expected["bytes"]
    if "hex" in expected:
        assert data.hex() == expected["hex"]
    assert hashlib.sha256(data).hexdigest() == expected["sha256"]


def assert_floats(values: np.ndarray, expected: list[list[str]]) -> None:
    assert [[value.hex() for value in row] for row in values.tolist()] == expected


def suite_of(scenario: dict[str, Any]) -> ToySuite:
    return ToySuite(
        LweParameters(**scenario["parameters"]),
        bytes.fromhex(scenario["session"]),
        SeededEntropy(bytes.fromhex(scenario["client_seed"])),
        SeededEntropy(bytes.fromhex(scenario["provider_seed"])),
    )


@pytest.mark.parametrize("name", scenarios.COVARIANCES)
def test_covariance(name):
    scenario = load(name)
    encryptor, evaluator = suite_of(scenario).covariance_pair(
        np.array(scenario["provider_rows"]), np.array(scenario["client_rows"])
    )
    key = encryptor.key_material()
    assert_blob(key, scenario["key"])
    evaluator.accept_key(key)
    for rows, expected in zip(encryptor.encrypt(scenario["max_bytes"]), scenario["pieces"], strict=True):
        assert (rows.first, rows.count) == (expected["first"], expected["count"])
        assert_blob(rows.data, expected)
        evaluator.absorb(rows)
    result = evaluator.finish()
    assert_blob(result, scenario["result"])
    assert_floats(encryptor.decrypt(result), scenario["product"])


@pytest.mark.parametrize("name", scenarios.HEADS)
def test_head(name):
    scenario = load(name)
    weight, bias = np.array(scenario["weight"]), np.array(scenario["bias"])
    encryptor, evaluator = suite_of(scenario).head_pair(weight, bias, scenario["slots"])
    assert_blob(encryptor.key_material(), scenario["key"])
    for number, expected in enumerate(scenario["pools"]):
        data = evaluator.prepare(number, NONCE)
        assert_blob(data, expected)
        encryptor.load_pool(number, data, NONCE)
    for batch in scenario["batches"]:
        place = batch["pool"], batch["first_slot"]
        query = encryptor.encrypt(*place, np.array(batch["queries"]))
        assert_blob(query, batch["query"])
        answer = evaluator.evaluate(*place, len(batch["queries"]), query)
        assert_blob(answer, batch["answer"])
        assert_floats(encryptor.decrypt(*place, answer), batch["logits"])


def _feed_covariance(scenario: dict[str, Any], target: str, data: bytes) -> None:
    """Run a covariance with one blob replaced by `data`."""
    encryptor, evaluator = suite_of(scenario).covariance_pair(
        np.array(scenario["provider_rows"]), np.array(scenario["client_rows"])
    )
    evaluator.accept_key(data if target == "key" else encryptor.key_material())
    for rows in encryptor.encrypt(scenario["max_bytes"]):
        evaluator.absorb(EncryptedRows(rows.first, rows.count, data) if target == "rows" else rows)
    encryptor.decrypt(data if target == "result" else evaluator.finish())


def _feed_head(scenario: dict[str, Any], target: str, data: bytes) -> None:
    """Run a head with one blob replaced by `data`."""
    weight, bias = np.array(scenario["weight"]), np.array(scenario["bias"])
    encryptor, evaluator = suite_of(scenario).head_pair(weight, bias, scenario["slots"])
    pool = evaluator.prepare(0, NONCE)
    encryptor.load_pool(0, data if target == "pool" else pool, NONCE)
    queries = np.array(scenario["batches"][0]["queries"])
    query = encryptor.encrypt(0, 0, queries)
    answer = evaluator.evaluate(0, 0, len(queries), data if target == "query" else query)
    encryptor.decrypt(0, 0, data if target == "answer" else answer)


@pytest.mark.parametrize("name", scenarios.REJECTS)
def test_malformed_blob_is_refused_with_the_named_code(name):
    reject = load(name)
    feed = _feed_covariance if reject["target"] in {"key", "rows", "result"} else _feed_head
    with pytest.raises(CiphertextError) as refusal:
        feed(load(reject["base"]), reject["target"], bytes.fromhex(reject["hex"]))
    assert refusal.value.code.name == reject["error"]


def test_parameter_digests():
    for expected in load("parameters")["sets"]:
        digest = expected.pop("digest")
        assert LweParameters(**expected).digest.hex() == digest


def test_public_matrices():
    scenario = load("expansion")
    for expected in scenario["matrices"]:
        matrix = PublicMatrix.derive(
            expected["purpose"],
            bytes.fromhex(scenario["session"]),
            bytes.fromhex(scenario["seed"]),
            expected["columns"],
            bytes.fromhex(expected["nonce"]),
        )
        assert matrix.key.hex() == expected["key"]
        assert_blob(matrix.rows(expected["first"], expected["count"]).tobytes(), expected)


def test_samplers():
    scenario = load("samplers")
    lower = [int(value) for value in scenario["boundaries"]][: len(sampling.LOWER_CUMULATIVE)]
    assert lower == list(sampling.LOWER_CUMULATIVE)
    for name, sample in (("gaussian", sampling.gaussian), ("ternary", sampling.ternary), ("wide", sampling.wide)):
        expected = scenario[name]
        values = sample(SeededEntropy(bytes.fromhex(expected["seed"])), (expected["count"], 1))
        assert_blob(values.astype(values.dtype.newbyteorder("<")).tobytes(), expected)
    for expected in scenario["flood"]:
        values = sampling.flood(SeededEntropy(bytes.fromhex(expected["seed"])), (1, 4), expected["bits"])
        assert values.ravel().tolist() == expected["values"]


#: The reference in plain Python needs ten seconds for one scenario of full size.
FULL_SIZE = "covariance_lwe_128"
GENERATED = [pytest.param(FULL_SIZE, marks=pytest.mark.thorough), *sorted(set(generate.SCENARIOS) - {FULL_SIZE})]


@pytest.mark.parametrize("name", GENERATED)
def test_generator_reproduces_the_committed_file(name):
    assert generate.render(generate.SCENARIOS[name]()) == (generate.FOLDER / f"{name}.json").read_text()


def test_every_file_has_a_scenario():
    assert {path.stem for path in generate.FOLDER.glob("*.json")} == set(generate.SCENARIOS)


@pytest.mark.parametrize("module", [reference, label_reference, scenarios, generate])
def test_reference_shares_no_code_with_the_package(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {"securealign", "support", "numpy", "scipy"}


def test_decrypted_vectors_are_the_product_in_clear():
    scenario = load("covariance_two_tiles")
    left, right = np.array(scenario["provider_rows"]), np.array(scenario["client_rows"])
    product = [[float.fromhex(value) for value in row] for row in scenario["product"]]
    bound = 1e-4 * np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)
    assert (np.abs(np.array(product) - left.T @ right) < bound).all()


def test_the_base_of_the_malformed_blobs_is_accepted():
    for name in {reject.base for reject in scenarios.REJECTS.values()}:
        feed = _feed_covariance if name in scenarios.COVARIANCES else _feed_head
        feed(load(name), "", b"")
