"""The source of secret randomness and the keystream that stretches it."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from securealign.he.entropy import SystemEntropy, keystream

KEY = bytes(range(32))
#: Sizes on both sides of the one above which a keystream is used.
SIZES = (1, 16, 1023, 1024, 1025, 100_000)


def counter_blocks(key, first, count):
    """Return AES of the counters, one block at a time: CTR mode without the library's CTR mode."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the definition of CTR
    return b"".join(encryptor.update(((first + index) % 2**128).to_bytes(16, "big")) for index in range(count))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_the_keystream_is_aes_in_counter_mode_from_zero(count):
    assert keystream(KEY, count).tobytes() == counter_blocks(KEY, 0, -(-count // 16))[:count]


@pytest.mark.parametrize("first_block", [1, 2, 255, 2**32 - 1, 2**64 - 1, 2**128 - 1])
def test_an_offset_starts_at_its_block_and_counters_carry(first_block):
    assert keystream(KEY, 48, offset=16 * first_block).tobytes() == counter_blocks(KEY, first_block, 3)


def test_pieces_of_a_keystream_join_without_a_seam():
    whole = keystream(KEY, 160)
    assert np.array_equal(np.concatenate([keystream(KEY, 64), keystream(KEY, 96, offset=64)]), whole)


@pytest.mark.parametrize("offset", [1, 15, 17])
def test_an_offset_within_a_block_is_refused(offset):
    with pytest.raises(ValueError, match="multiple of the block size"):
        keystream(KEY, 16, offset=offset)


def test_keystreams_under_two_keys_differ():
    assert not np.array_equal(keystream(KEY, 64), keystream(KEY[::-1], 64))


@pytest.mark.parametrize("count", [0, *SIZES])
def test_as_many_octets_come_as_were_asked_for(count):
    octets = SystemEntropy().octets(count)
    assert octets.shape == (count,)
    assert octets.dtype == np.uint8


@pytest.mark.parametrize("count", [16, 1024, 1025, 4096])
def test_no_two_calls_of_one_or_of_two_sources_are_equal(count):
    sources = (SystemEntropy(), SystemEntropy())
    drawn = {sources[index % 2].octets(count).tobytes() for index in range(200)}
    assert len(drawn) == 200


def test_small_requests_are_the_operating_systems_own_octets(monkeypatch):
    monkeypatch.setattr(secrets, "token_bytes", lambda count: bytes([count % 256]) * count)
    assert SystemEntropy().octets(1024).tobytes() == bytes(1024)
    assert SystemEntropy().octets(5).tobytes() == b"\5" * 5


def test_large_requests_are_a_keystream_under_a_fresh_key_of_32_octets(monkeypatch):
    keys = [bytes([1]) * 32, bytes([2]) * 32]
    drawn = iter(keys)
    asked = []

    def token_bytes(count):
        asked.append(count)
        return next(drawn)

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    entropy = SystemEntropy()
    for key in keys:
        assert np.array_equal(entropy.octets(1025), keystream(key, 1025))
    assert asked == [32, 32]


def deviation(octets):
    """Return by how many standard deviations the number of ones differs from half of the bits."""
    bits = np.unpackbits(octets)
    return abs(2 * int(bits.sum()) - len(bits)) / np.sqrt(len(bits))


@pytest.mark.parametrize("count", [1024, 1 << 17])
def test_ones_and_zeros_are_balanced(count):
    octets = np.concatenate([SystemEntropy().octets(count) for _ in range((1 << 17) // count)])
    # Seven standard deviations: a good source fails once in 10^11 runs.
    assert deviation(octets) < 7


def test_the_balance_of_bits_would_show_a_small_bias():
    rng = np.random.default_rng(0)
    biased = np.packbits(rng.random(1 << 20) < 0.505)
    assert deviation(biased) > 7
