"""Label-only answers and an independent implementation of their specification agree bit for bit."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.labels import as_numbers, expected
from vectors import generate, scenarios

from securealign.he.labels.client import LabelClient
from securealign.he.labels.layout import LabelLayout
from securealign.he.labels.provider import LabelProvider


def matches(data: bytes, described: dict[str, object]) -> bool:
    return len(data) == described["bytes"] and hashlib.sha256(data).hexdigest() == described["sha256"]


@pytest.mark.parametrize("name", scenarios.LABELS)
def test_labels(name):
    scenario = json.loads((generate.FOLDER / f"{name}.json").read_text())
    session, nonce, transfer_seed, client_seed, provider_seed = (
        bytes.fromhex(scenario[key]) for key in ("session", "nonce", "transfer_seed", "client_seed", "provider_seed")
    )
    v, g, pool = np.array(scenario["provider_shares"]), np.array(scenario["client_shares"]), scenario["pool"]
    layout = LabelLayout(*(scenario[key] for key in ("classes", "bits", "segments", "buckets")), v.shape[1])
    ours, theirs = SeededEntropy(client_seed), SeededEntropy(provider_seed)

    provider = LabelProvider(layout, session, transfer_seed)
    assert matches(provider.offer, scenario["offer"])
    client = LabelClient(layout, session, provider.offer, ours)
    assert matches(client.reply, scenario["reply"])
    provider.accept_reply(client.reply)
    choices = client.choose(pool, nonce, g, ours)
    assert matches(choices, scenario["choices"])
    seed, salt = theirs.octets(32).tobytes(), theirs.octets(16).tobytes()
    pieces, decode = provider.garble(pool, nonce, memoryview(choices), seed, salt)
    data = b"".join(pieces)
    assert matches(data, scenario["tables"])
    tables = client.await_tables(pool, nonce)
    for first in range(0, len(data), 1000):
        client.add_tables(tables, g, memoryview(data)[first : first + 1000])
    results, order = [], []
    for described in scenario["answers"]:
        first, count = described["first_slot"], described["count"]
        answer = provider.answer(seed, decode, first, v[:, first : first + count])
        assert matches(answer, described)
        results.extend(client.read(tables, first, count, memoryview(answer)).tolist())
        order.extend(range(first, first + count))
    assert results == scenario["results"]
    sums = (v + g) % (1 << layout.bits)
    signed = np.where(sums >> (layout.bits - 1), sums - (1 << layout.bits), sums)
    assert (as_numbers(np.array(results), layout.buckets) == expected(signed, layout.buckets)[order]).all()
