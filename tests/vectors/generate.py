"""Writes the known answers with the reference implementation: `python -m vectors.generate` in the folder above."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from . import label_reference, reference
from .scenarios import (
    COVARIANCES,
    HEADS,
    LABELS,
    LWE_128,
    LWE_128Q,
    NONCE,
    REJECTS,
    SEEDS,
    SESSION,
    TOY,
    TOY_76,
    TRANSFER_SEED,
    CovarianceInputs,
    HeadInputs,
    LabelInputs,
    Reject,
    describe_parameters,
)

FOLDER = Path(__file__).parent
#: Blobs above this size are stored as a hash alone.
LARGEST_HEX = 3000

Scenario = dict[str, Any]


def blob(data: bytes) -> Scenario:
    """Describe a byte string: length, SHA-256, and the bytes unless there are many."""
    described: Scenario = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) <= LARGEST_HEX:
        described["hex"] = data.hex()
    return described


def hex_floats(rows: list[list[float]]) -> list[list[str]]:
    return [[value.hex() for value in row] for row in rows]


def _common(description: str, parameters: reference.Parameters) -> Scenario:
    return {
        "description": description,
        "parameters": describe_parameters(parameters),
        "session": SESSION.hex(),
        "client_seed": SEEDS[0].hex(),
        "provider_seed": SEEDS[1].hex(),
    }


def run_covariance(inputs: CovarianceInputs) -> reference.Covariance:
    """Run one training session in the reference implementation."""
    return reference.covariance(
        inputs.parameters,
        SESSION,
        SEEDS,
        provider_rows=inputs.provider_rows,
        client_rows=inputs.client_rows,
        max_bytes=inputs.max_bytes,
    )


def run_head(inputs: HeadInputs) -> reference.Head:
    """Run one inference session in the reference implementation."""
    return reference.head(
        inputs.parameters,
        SESSION,
        SEEDS,
        weight=inputs.weight,
        bias=inputs.bias,
        slots=inputs.slots,
        nonce=NONCE,
        batches=inputs.batches,
    )


def covariance_scenario(inputs: CovarianceInputs) -> Scenario:
    run = run_covariance(inputs)
    return {
        **_common(inputs.description, inputs.parameters),
        "provider_rows": inputs.provider_rows,
        "client_rows": inputs.client_rows,
        "max_bytes": inputs.max_bytes,
        "key": blob(run.key),
        "pieces": [{"first": first, "count": count, **blob(data)} for first, count, data in run.pieces],
        "result": blob(run.result),
        "product": hex_floats(run.product),
    }


def head_scenario(inputs: HeadInputs) -> Scenario:
    run = run_head(inputs)
    return {
        **_common(inputs.description, inputs.parameters),
        "weight": inputs.weight,
        "bias": inputs.bias,
        "slots": inputs.slots,
        "nonce": NONCE.hex(),
        "key": blob(run.key),
        "pools": [blob(pool) for pool in run.pools],
        "batches": [
            {
                "pool": batch.pool,
                "first_slot": batch.first_slot,
                "queries": queries,
                "query": blob(batch.query),
                "answer": blob(batch.answer),
                "logits": hex_floats(batch.logits),
            }
            for batch, (_, _, queries) in zip(run.batches, inputs.batches, strict=True)
        ],
    }


def label_scenario(inputs: LabelInputs) -> Scenario:
    v, g = inputs.shares
    terms = {
        "classes": inputs.classes,
        "bits": inputs.bits,
        "segments": inputs.segments,
        "buckets": inputs.buckets,
    }
    run = label_reference.run(
        SESSION, NONCE, inputs.pool, TRANSFER_SEED, SEEDS, **terms, v=v, g=g, batches=inputs.batches
    )
    return {
        "description": inputs.description,
        "session": SESSION.hex(),
        "nonce": NONCE.hex(),
        "transfer_seed": TRANSFER_SEED.hex(),
        "client_seed": SEEDS[0].hex(),
        "provider_seed": SEEDS[1].hex(),
        "pool": inputs.pool,
        **terms,
        "provider_shares": v,
        "client_shares": g,
        "offer": blob(run.offer),
        "reply": blob(run.reply),
        "choices": blob(run.choices),
        "tables": blob(run.tables),
        "answers": [
            {"first_slot": first, "count": count, **blob(answer)}
            for (first, count), answer in zip(inputs.batches, run.answers, strict=True)
        ],
        "results": run.results,
    }


def reject_scenario(reject: Reject) -> Scenario:
    if reject.base in COVARIANCES:
        training = run_covariance(COVARIANCES[reject.base])
        blobs = {"key": training.key, "rows": training.pieces[0][2], "result": training.result}
    else:
        inference = run_head(HEADS[reject.base])
        batch = inference.batches[0]
        blobs = {"pool": inference.pools[0], "query": batch.query, "answer": batch.answer}
    return {
        "description": reject.description,
        "base": reject.base,
        "target": reject.target,
        "hex": reject.change(blobs[reject.target]).hex(),
        "error": reject.error,
    }


def parameters_scenario() -> Scenario:
    return {
        "description": "digests of parameter sets",
        "sets": [
            {**describe_parameters(parameters), "digest": parameters.digest.hex()}
            for parameters in (TOY, TOY_76, LWE_128, LWE_128Q)
        ],
    }


def expansion_scenario() -> Scenario:
    seed = bytes(32)
    matrices = []
    for purpose, columns, first, nonce in (
        ("rows", 8, 0, b""),
        ("mask", 64, 3, b""),
        ("pool 12", 3200, 70_000, NONCE),
    ):
        key = reference.matrix_key(purpose, SESSION, seed, nonce)
        data = reference.aes_ctr(key, first * columns * 10, 2 * columns * 10)
        matrices.append(
            {
                "purpose": purpose,
                "nonce": nonce.hex(),
                "columns": columns,
                "first": first,
                "count": 2,
                "key": key.hex(),
                **blob(data),
            }
        )
    return {
        "description": "rows of public matrices",
        "session": SESSION.hex(),
        "seed": seed.hex(),
        "matrices": matrices,
    }


def samplers_scenario() -> Scenario:
    gaussian = reference.gaussian(reference.Randomness(b"gaussian"), 4000)
    ternary = reference.ternary(reference.Randomness(b"ternary"), 1000)
    wide = reference.wide(reference.Randomness(b"wide"), 1000)
    return {
        "description": "samples from seeded randomness: Gaussian and ternary ones of 8 bits, wide ones of 16",
        "boundaries": [str(value) for value in reference.BOUNDARIES],
        "gaussian": {"seed": b"gaussian".hex(), "count": len(gaussian), **blob(bytes(x % 256 for x in gaussian))},
        "ternary": {"seed": b"ternary".hex(), "count": len(ternary), **blob(bytes(x % 256 for x in ternary))},
        "wide": {"seed": b"wide".hex(), "count": len(wide), **blob(struct.pack(f"<{len(wide)}h", *wide))},
        "flood": [
            {"seed": b"flood".hex(), "bits": bits, "values": reference.flood(reference.Randomness(b"flood"), 4, bits)}
            for bits in (1, 40, 61, 62)
        ],
    }


SCENARIOS: Mapping[str, Callable[[], Scenario]] = {
    "parameters": parameters_scenario,
    "expansion": expansion_scenario,
    "samplers": samplers_scenario,
    **{name: partial(covariance_scenario, inputs) for name, inputs in COVARIANCES.items()},
    **{name: partial(head_scenario, inputs) for name, inputs in HEADS.items()},
    **{name: partial(label_scenario, inputs) for name, inputs in LABELS.items()},
    **{name: partial(reject_scenario, reject) for name, reject in REJECTS.items()},
}


def render(scenario: Scenario) -> str:
    """Return the text of a scenario's file, one line per entry."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in scenario.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write all files and remove those without a scenario."""
    for path in FOLDER.glob("*.json"):
        if path.stem not in SCENARIOS:
            path.unlink()
    for name, make in SCENARIOS.items():
        (FOLDER / f"{name}.json").write_text(render(make()))


if __name__ == "__main__":
    main()
