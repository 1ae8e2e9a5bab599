"""The calls of TenSEAL, in this process: whose parameters are taken, precision at the largest norms, and sizes."""

from __future__ import annotations

import importlib
from contextlib import closing

import numpy as np
import pytest
from support.optional import library

from securealign.errors import CiphertextError
from securealign.he.native.worker import Worker
from securealign.he.tenseal_ckks.profile import MODULUS_BITS, PROFILE, RING

#: What an error may be, of the product of the two largest norms.
HEAD_ERROR, COVARIANCE_ERROR = 2.0**-22, 2.0**-34
FEATURES, CLASSES = 8, 2
WEIGHT = np.arange(1.0, 1 + (FEATURES + 1) * CLASSES).reshape(-1, CLASSES)
QUERY = np.linspace(-3, 3, FEATURES + 1)[None]


@pytest.fixture(scope="module")
def tenseal():
    return library("tenseal", suite="tenseal-ckks")


@pytest.fixture(scope="module")
def engine(tenseal):
    return importlib.import_module("securealign.he.tenseal_ckks.engine")


@pytest.fixture(scope="module")
def client(engine):
    """The client's half of a head."""
    with closing(engine.HeadClient(FEATURES, CLASSES)) as client:
        yield client


def test_contexts_are_what_the_profile_claims(engine):
    importlib.import_module("tenseal.sealapi")  # whose types the answers below are
    with closing(engine.CovarianceClient(3)) as client:
        parameters = client._context.seal_context().data.key_context_data().parms()
        assert parameters.poly_modulus_degree() == RING.dimension
        bits = [modulus.value().bit_length() for modulus in parameters.coeff_modulus()]
        assert bits == list(MODULUS_BITS)
        assert sum(bits) == RING.log_q


# A client's context


def other_client(engine, tenseal, dimension, bits):
    """Return a client whose context has other parameters."""
    client = engine.HeadClient.__new__(engine.HeadClient)
    client._context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, dimension, coeff_mod_bit_sizes=bits, n_threads=1)
    client._context.global_scale = 2.0**40
    client._context.generate_galois_keys()
    client._parts, client._columns, client._classes = 1, FEATURES + 1, CLASSES
    return client


def all_slots(client, data):
    """Return every slot of a ciphertext, also those that the library does not count to the vector."""
    sealapi = importlib.import_module("tenseal.sealapi")
    context, plaintext = client._context.seal_context().data, sealapi.Plaintext()
    vector = importlib.import_module("tenseal").ckks_vector_from(client._context, data)
    sealapi.Decryptor(context, client._context.secret_key().data).decrypt(vector.ciphertext()[0], plaintext)
    return np.array(sealapi.CKKSEncoder(context).decode_double(plaintext))


def answers(engine, client):
    provider = engine.HeadProvider(WEIGHT)
    provider.accept_key(client.key())
    return provider.evaluate(client.encrypt(QUERY))


def test_every_slot_of_an_answer_is_the_whole_result(engine, client):
    for data, result in zip(answers(engine, client), (QUERY @ WEIGHT)[0], strict=True):
        assert np.allclose(all_slots(client, data), result, atol=1e-3)


def test_a_context_in_a_larger_ring_is_refused_since_its_answers_show_partial_sums(engine, tenseal, monkeypatch):
    stranger = other_client(engine, tenseal, 16384, [60, 40, 60])
    with pytest.raises(ValueError, match="other parameters"):
        answers(engine, stranger)
    # The control: without the check, the slots behind the query give a weight away for each of its numbers.
    monkeypatch.setattr(engine, "_parameters", lambda _context: None)
    slots = all_slots(stranger, answers(engine, stranger)[0])
    terms = QUERY[0] * WEIGHT[:, 0]
    sums = [terms[first:].sum() for first in range(FEATURES + 1)]
    assert all(np.isclose(slots, partial, atol=1e-3).any() for partial in sums[1:])


@pytest.mark.parametrize("bits", [[60, 40, 40, 60], [60, 40, 59], [50, 40, 60]])
def test_a_context_with_other_moduli_is_refused(engine, tenseal, bits):
    stranger = other_client(engine, tenseal, RING.dimension, bits)
    with pytest.raises(ValueError, match="other parameters"):
        engine.HeadProvider(WEIGHT).accept_key(stranger.key())


def test_a_context_with_a_secret_key_is_refused(engine):
    with closing(engine.CovarianceClient(3)) as client:
        key = client._context.serialize(save_public_key=True, save_secret_key=True)
        with pytest.raises(ValueError, match="secret key"):
            engine.CovarianceProvider(2, 3).accept_key(key)


def test_what_a_context_says_of_scales_and_rescaling_is_not_taken(engine):
    with closing(engine.HeadClient(FEATURES, CLASSES)) as client:
        honest = client.encrypt(QUERY)
        client._context.global_scale = 2.0**2
        client._context.auto_rescale = client._context.auto_mod_switch = client._context.auto_relin = False
        provider = engine.HeadProvider(WEIGHT)
        provider.accept_key(client.key())
        assert np.allclose(client.decrypt(provider.evaluate(honest)), QUERY @ WEIGHT, atol=1e-3)


@pytest.mark.usefixtures("engine")
def test_a_vector_of_another_size_is_refused_in_the_worker(tenseal, client):
    worker = Worker(PROFILE, "HeadProvider", WEIGHT)
    with closing(worker):
        worker.read(int, "accept_key", client.key())
        for size in (1, RING.slots - 1, RING.slots + 1):
            data = tenseal.ckks_vector(client._context, [1.0] * size).serialize()
            with pytest.raises(CiphertextError, match="another size"):
                worker.read(list, "evaluate", [data])
        assert len(worker.read(list, "evaluate", client.encrypt(QUERY))) == CLASSES


# Precision


def aligned(size, norm):
    """Return numbers of which all push a product the same way."""
    return np.full(size, norm / np.sqrt(size))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("features", [1, 768, RING.slots])
def test_a_head_is_right_at_the_largest_norms(engine, sign, features):
    job = PROFILE.head
    query = aligned(features + 1, job.message_norm)[None]
    weight = sign * np.tile(aligned(features + 1, job.operand_norm)[:, None], 2)
    with closing(engine.HeadClient(features, 2)) as client:
        provider = engine.HeadProvider(weight)
        provider.accept_key(client.key())
        results = client.decrypt(provider.evaluate(client.encrypt(query)))
    assert np.abs(results - query @ weight).max() <= HEAD_ERROR * job.message_norm * job.operand_norm


@pytest.mark.parametrize("sign", [1, -1])
def test_a_covariance_is_right_at_the_largest_norms(engine, sign):
    job, rows = PROFILE.covariance, 20
    messages = np.tile(aligned(rows, job.message_norm)[:, None], 3)
    operand = sign * np.tile(aligned(rows, job.operand_norm)[:, None], 2)
    with closing(engine.CovarianceClient(3)) as client:
        provider = engine.CovarianceProvider(2, 3)
        provider.accept_key(client.key())
        provider.absorb(client.encrypt(messages), operand)
        product = client.decrypt(provider.finish())
    assert np.abs(product - operand.T @ messages).max() <= COVARIANCE_ERROR * job.message_norm * job.operand_norm
