"""Every key is fresh, and a secret key does not leave the process by accident."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support.toy import TOY, ToySuite

from securealign.he.blobs import HEADER_BYTES
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.lwe.suite import LweSuite
from securealign.matrices import Rows

ROWS = np.ones((4, 3))
SESSION = b"the same session identifier"


def covariance_encryptor():
    shape = CovarianceShape(rows=4, provider_dim=3, columns=3)
    return LweSuite(TOY).covariance_encryptor(shape, SESSION, Rows(ROWS), SystemEntropy())


def head_encryptor():
    return LweSuite(TOY).head_encryptor(HeadShape(provider_dim=3, classes=2, slots=3), SESSION, SystemEntropy())


@pytest.mark.parametrize("make", [covariance_encryptor, head_encryptor])
def test_two_keys_of_one_session_share_nothing(make):
    first, second = make(), make()
    seeds = [key.key_material()[HEADER_BYTES : HEADER_BYTES + 64] for key in (first, second)]
    rest = [key.key_material()[HEADER_BYTES + 64 :] for key in (first, second)]
    assert seeds[0][:32] != seeds[1][:32]
    assert seeds[0][32:] != seeds[1][32:]
    assert seeds[0][:32] != seeds[0][32:]
    equal = np.frombuffer(rest[0], np.uint8) == np.frombuffer(rest[1], np.uint8)
    assert equal.mean() < 0.05
    assert (first._key._secret != second._key._secret).any()


def test_secrets_of_training_and_inference_differ():
    assert (covariance_encryptor()._key._secret != head_encryptor()._key._secret).any()


def test_public_matrices_depend_on_purpose_session_and_seed():
    key = covariance_encryptor()._key
    other = covariance_encryptor()._key
    derived = [key.matrix("rows"), key.matrix("pool 1"), key.matrix("pool 11"), other.matrix("rows")]
    assert len({matrix.key for matrix in derived}) == len(derived)
    elsewhere = ToySuite(session=b"another").covariance_pair(ROWS, ROWS)[0]
    here = ToySuite(session=SESSION).covariance_pair(ROWS, ROWS)[0]
    assert elsewhere._key._seed == here._key._seed
    assert elsewhere._key.matrix("rows") != here._key.matrix("rows")


def test_encryption_of_equal_rows_differs():
    encryptor = covariance_encryptor()
    (piece,) = encryptor.encrypt(1 << 16)
    width = 3 * 10
    rows = {piece.data[start : start + width] for start in range(HEADER_BYTES, len(piece.data), width)}
    assert len(rows) == len(ROWS)


@pytest.mark.parametrize("make", [covariance_encryptor, head_encryptor])
@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_key_cannot_be_pickled_or_copied(make, leak):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        leak(make()._key)


@pytest.mark.parametrize("make", [covariance_encryptor, head_encryptor])
def test_what_holds_a_secret_key_cannot_be_pickled_either(make):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        pickle.dumps(make())


def test_a_secret_key_shows_its_parameter_set_only():
    encryptor = covariance_encryptor()
    assert repr(encryptor._key) == str(encryptor._key) == "<SecretKey of toy>"
    assert "array" not in repr(encryptor)
    assert "array" not in repr(head_encryptor())
