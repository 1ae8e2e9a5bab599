"""The calls of OpenFHE, in this process: parameters, precision at the largest norms, and what sessions leave behind."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from support.optional import library

from securealign.he.openfhe_ckks.profile import COVARIANCE_RING, HEAD_RING, PROFILE

#: What an error may be, of the product of the two largest norms.
HEAD_ERROR, COVARIANCE_ERROR = 2.0**-18, 2.0**-17


@pytest.fixture(scope="module")
def engine():
    library("openfhe", suite="openfhe-ckks")
    return importlib.import_module("securealign.he.openfhe_ckks.engine")


@pytest.mark.parametrize(("role", "ring"), [("CovarianceClient", COVARIANCE_RING), ("HeadClient", HEAD_RING)])
def test_contexts_are_what_the_profile_claims(engine, role, ring):
    with closing(getattr(engine, role)(*([3] if role == "CovarianceClient" else [3, 2]))) as client:
        assert client.context.GetRingDimension() == ring.dimension
        assert round(np.log2(float(client.context.GetModulus()))) == ring.log_q
        assert client.context.GetMultiplicativeDepth() == 0


def aligned(size, norm):
    """Return numbers of which all push a product the same way."""
    return np.full(size, norm / np.sqrt(size))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("features", "classes"), [(1, 1), (768, 6), (768, 20), (2048, 3)])
def test_a_head_is_right_at_the_largest_norms(engine, features, classes, sign):
    job = PROFILE.head
    query = aligned(features + 1, job.message_norm)[None]
    weight = sign * np.tile(aligned(features + 1, job.operand_norm)[:, None], classes)
    with closing(engine.HeadClient(features, classes)) as client, closing(engine.HeadProvider(weight)) as provider:
        provider.accept_key(client.key())
        (results,) = client.decrypt(provider.evaluate(client.encrypt(query)))
    assert np.abs(results - query @ weight).max() <= HEAD_ERROR * job.message_norm * job.operand_norm


@pytest.mark.parametrize("sign", [1, -1])
def test_a_covariance_is_right_at_the_largest_norms(engine, sign):
    job, rows = PROFILE.covariance, 50
    messages = np.rint(np.tile(aligned(rows, job.message_norm)[:, None], 3))
    operand = sign * np.rint(np.tile(aligned(rows, job.operand_norm)[:, None], 2))
    with closing(engine.CovarianceClient(3)) as client, closing(engine.CovarianceProvider(2, 3)) as provider:
        provider.accept_key(client.key())
        provider.absorb(client.encrypt(messages), operand)
        product = client.decrypt(provider.finish())
    assert np.abs(product - operand.T @ messages).max() <= COVARIANCE_ERROR * job.message_norm * job.operand_norm


def test_numbers_that_round_to_nothing_are_encrypted_as_nothing(engine):
    with closing(engine.CovarianceClient(3)) as client:
        (data,) = client.encrypt(np.array([[1e-9, 0, 0.4]]))
        assert np.abs(client.decrypt([data])).max() < 2.0**12


def test_a_ciphertext_of_another_context_is_refused(engine):
    with closing(engine.CovarianceClient(3)) as small, closing(engine.HeadClient(3, 2)) as large:
        (data,) = small.encrypt(np.ones((1, 3)) * 2.0**20)
        with pytest.raises(ValueError, match="slots"):
            large.load(data)


#: Runs inference sessions one after the other and prints the resident pages after 50 and after all.
SESSIONS = """
import sys
from pathlib import Path
import numpy as np
from securealign.he.openfhe_ckks.engine import HeadClient, HeadProvider

def session(close):
    client, provider = HeadClient(20, 3), HeadProvider(np.full((21, 3), 1000.0))
    provider.accept_key(client.key())
    client.decrypt(provider.evaluate(client.encrypt(np.full((1, 21), 2.0**25))))
    if close:
        provider.close()
        client.close()

for index in range(int(sys.argv[1])):
    session(close=sys.argv[2] == "close")
    if index in (49, int(sys.argv[1]) - 1):
        print(Path("/proc/self/statm").read_text().split()[1])
"""


def growth(sessions, how):
    """Return by how many MiB the process grew after its fiftieth session."""
    done = subprocess.run(
        [sys.executable, "-c", SESSIONS, str(sessions), how], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    return (after - before) * 4096 / 2**20


@pytest.mark.usefixtures("engine")
def test_two_hundred_sessions_in_one_process_do_not_grow_its_memory():
    gc.collect()
    assert growth(200, "close") < 8


@pytest.mark.usefixtures("engine")
def test_sessions_that_are_not_closed_do():
    assert growth(100, "leave") > 8
