"""The file of a key store: its layout, and what is not taken for one."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, ErrorCode, KeyStoreError
from securealign.keys.envelope import VERSION, Envelope, MasterKey, ScryptCost

COST = ScryptCost(4, 2, 1)
MASTER = MasterKey.fresh(b"passphrase", COST)


def sealed(plaintext=b"entries"):
    return MASTER.seal(MASTER.header(), plaintext)


def with_checksum(body):
    return body + hashlib.sha256(body).digest()


def hkdf(secret, info, salt=bytes(32)):
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def read_by_the_book(data, passphrase):
    """Open a store as docs/keys.md describes it, with nothing of the library."""
    body, checksum = data[:-32], data[-32:]
    assert hashlib.sha256(body).digest() == checksum
    assert body[:8] == b"SAKEYS\r\n"
    version, log2_n, r, p = struct.unpack(">HBBB", body[8:13])
    assert version == 1
    salt, check, _store, _generation, file_salt = body[13:45], body[45:77], body[77:93], body[93:101], body[101:133]
    assert int.from_bytes(body[133:137], "big") == len(body) - 137
    master = hashlib.scrypt(passphrase, salt=salt, n=2**log2_n, r=r, p=p, dklen=32)
    assert hkdf(master, b"securealign/store/check") == check
    key = hkdf(master, b"securealign/store/file", file_salt)
    return AESGCM(key).decrypt(bytes(12), body[137:], body[:137])


@given(st.binary(max_size=300))
def test_what_was_sealed_opens_by_the_documented_layout(plaintext):
    assert read_by_the_book(sealed(plaintext), b"passphrase") == plaintext


@given(st.binary(max_size=300))
def test_what_was_sealed_opens(plaintext):
    envelope = Envelope.parse(sealed(plaintext))
    assert MasterKey.of(b"passphrase", envelope.header).open(envelope) == plaintext


def test_every_write_has_a_key_of_its_own():
    first = MASTER.header()
    second = first.next()
    assert second.generation == first.generation + 1
    assert (second.store, second.salt) == (first.store, first.salt)
    assert second.file_salt != first.file_salt
    one, other = (Envelope.parse(MASTER.seal(header, bytes(64))).ciphertext for header in (first, second))
    assert one != other


def test_another_passphrase_is_wrong():
    with pytest.raises(KeyStoreError, match="does not open") as error:
        MasterKey.of(b"Passphrase", Envelope.parse(sealed()).header)
    assert error.value.code is ErrorCode.PASSPHRASE_WRONG


@given(st.binary(max_size=400))
def test_bytes_that_are_no_store_are_told(data):
    with pytest.raises(KeyStoreError, match=r"no key store|truncated") as error:
        Envelope.parse(data)
    assert error.value.code is ErrorCode.STORE_DAMAGED


def test_every_truncation_is_told():
    data = sealed()
    for length in range(len(data)):
        with pytest.raises(KeyStoreError, match=r"no key store|truncated|bytes where") as error:
            Envelope.parse(data[:length])
        assert error.value.code is ErrorCode.STORE_DAMAGED
    with pytest.raises(KeyStoreError, match=f"{len(data) + 1} bytes where {len(data)} were written"):
        Envelope.parse(data + b"\n")


def test_every_damaged_byte_is_told_before_anyone_asks_for_a_passphrase():
    data = sealed()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(KeyStoreError) as error:
            Envelope.parse(bytes(damaged))
        assert error.value.code is ErrorCode.STORE_DAMAGED


def test_a_store_of_a_later_release_says_so():
    body = bytearray(sealed()[:-32])
    body[8:10] = (VERSION + 1).to_bytes(2, "big")
    with pytest.raises(KeyStoreError, match="format version 2; this release reads version 1"):
        Envelope.parse(with_checksum(bytes(body)))


@pytest.mark.parametrize("cost", [(255, 8, 1), (20, 32, 1), (0, 8, 1), (17, 0, 1), (17, 8, 0), (17, 8, 17), (20, 9, 1)])
def test_costs_out_of_bounds_are_refused_in_a_file_and_as_an_argument(cost):
    body = bytearray(sealed()[:-32])
    body[10:13] = bytes(cost)
    with pytest.raises(KeyStoreError, match="never writes"):
        Envelope.parse(with_checksum(bytes(body)))
    with pytest.raises(ConfigurationError, match="out of bounds"):
        ScryptCost(*cost)


@pytest.mark.parametrize("cost", [(17, 8, 1), (20, 8, 16), (1, 1, 1), (18, 32, 1)])
def test_costs_within_bounds_are_taken(cost):
    assert ScryptCost(*cost).log2_n == cost[0]


def test_a_header_follows_itself_and_what_came_before_in_the_same_store():
    first = MASTER.header()
    second, fork = first.next(), first.next()
    assert first.follows(first)
    assert second.follows(first)
    assert not first.follows(second)
    assert not fork.follows(second)
    assert not MASTER.header().next().follows(first)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_master_key_is_not_pickled_copied_or_printed(duplicate):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(MASTER)
    assert repr(MASTER) == "<MasterKey>"
