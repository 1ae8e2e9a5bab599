"""A copy of a client's records goes on with a provider that has kept, and repeats, whatever helps it.

The copy has the same root secret and the same Accept. The same key for other rows, or the same matrix for another
query, would show the difference of what they mask. In the controls rows and nonces do not take part in the randomness.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.lwe_attacks import HEADER_BYTES, SMALLEST_P, Q, centred, wire_integers
from support.toy import SESSION, TOY

from securealign.errors import LocalProtocolError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.lwe.suite import LweSuite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import Rows
from securealign.protocol.randomness import SessionEntropy

SUITE = LweSuite(TOY)
ROWS, COLUMNS = 60, 5
FEATURES, SLOTS = 11, 40
RANDOM = np.random.default_rng(0)
CHANGED = RANDOM.normal(size=(ROWS, COLUMNS))
#: As `CHANGED`, but for two rows that changed places: norms and scales are the same.
ORIGINAL = CHANGED[[1, 0, *range(2, ROWS)]]


class StoredRoot:
    """The secret of a client, which its copy has too."""

    def derive(self, context: bytes) -> bytes:
        return b"root secret of 32 bytes, shared."


def session_entropy(accept: bytes = b"accept") -> SessionEntropy:
    return SessionEntropy.of(StoredRoot(), SESSION, accept)


def without_purposes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let randomness depend on neither rows nor nonces."""
    fork = SessionEntropy.fork
    monkeypatch.setattr(SessionEntropy, "fork", lambda self, purpose: fork(self, purpose.rpartition(" ")[0]))


def uploads(rows: np.ndarray, accept: bytes = b"accept") -> tuple[bytes, np.ndarray]:
    """Return the key and the ciphertexts, shape (rows, columns), of a client with the stored root."""
    shape = CovarianceShape(rows=ROWS, provider_dim=4, columns=COLUMNS)
    encryptor = SUITE.covariance_encryptor(shape, SESSION, Rows(rows), session_entropy(accept))
    (piece,) = encryptor.encrypt(MAX_CHUNK_BYTES)
    return encryptor.key_material(), wire_integers(piece.data[HEADER_BYTES:], ROWS, COLUMNS)


def show_difference(first: np.ndarray, second: np.ndarray, messages: np.ndarray) -> bool:
    """Whether ciphertexts differ exactly by messages, at one scale for each column."""
    shown = centred(first - second).astype(np.float64)
    scales = np.linalg.norm(shown, axis=0) / np.linalg.norm(messages, axis=0)
    return bool(np.allclose(shown, messages * scales, rtol=1e-9, atol=1e-9 * scales.max()))


def show_nothing(first: np.ndarray, second: np.ndarray) -> bool:
    shown = centred(first - second).astype(np.float64)
    return bool(stats.kstest(shown.ravel() / float(Q), "uniform", args=(-0.5, 1)).pvalue > SMALLEST_P)


def test_a_copy_whose_rows_changed_shows_the_change_if_rows_take_no_part_in_the_randomness(monkeypatch):
    without_purposes(monkeypatch)
    (key, first), (same_key, second) = uploads(ORIGINAL), uploads(CHANGED)
    assert key == same_key
    assert show_difference(first, second, ORIGINAL - CHANGED)


def test_a_copy_whose_rows_changed_has_another_key_and_shows_nothing():
    (key, first), (other_key, second) = uploads(ORIGINAL), uploads(CHANGED)
    assert key[HEADER_BYTES : HEADER_BYTES + 32] != other_key[HEADER_BYTES : HEADER_BYTES + 32]
    assert show_nothing(first, second)


def test_a_copy_that_gets_another_accept_has_another_key():
    (key, first), (other_key, second) = uploads(ORIGINAL), uploads(ORIGINAL, b"accept with other terms")
    assert key != other_key
    assert show_nothing(first, second)


def test_a_copy_in_which_nothing_changed_repeats_itself_to_the_byte():
    (key, first), (same_key, second) = uploads(ORIGINAL), uploads(ORIGINAL)
    assert key == same_key
    assert (first == second).all()


# Inference


class Copies:
    """Two clients with one root, one Accept and one provider, which gives both the same pool."""

    def __init__(self, nonces: tuple[bytes, bytes]) -> None:
        self.shape = HeadShape(provider_dim=FEATURES, classes=2, slots=SLOTS)
        weight, bias = RANDOM.normal(size=(FEATURES, 2)), RANDOM.normal(size=2)
        self.clients = [SUITE.head_encryptor(self.shape, SESSION, session_entropy()) for _ in range(2)]
        assert self.clients[0].key_material() == self.clients[1].key_material()
        provider = SUITE.head_evaluator(self.shape, SESSION, weight, bias, SystemEntropy())
        provider.accept_key(self.clients[0].key_material())
        for client, nonce in zip(self.clients, nonces, strict=True):
            client.load_pool(0, provider.prepare(0, nonce), nonce)

    def ask(self, queries: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
        """Return what each sends when it asks its query in every slot, shape (terms, slots)."""
        sent = []
        for client, query in zip(self.clients, queries, strict=True):
            data = client.encrypt(0, 0, np.tile(query, (SLOTS, 1)))
            sent.append(wire_integers(data[HEADER_BYTES:], FEATURES + 1, SLOTS))
        return sent


def queries() -> tuple[np.ndarray, np.ndarray]:
    drawn = RANDOM.normal(size=(2, FEATURES))
    first, second = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return first, second


def test_a_copy_that_asks_in_the_same_pool_shows_the_difference_of_the_queries_under_one_nonce():
    """The control: what a nonce that was derived from the session would do."""
    first, second = queries()
    sent = Copies((bytes(32), bytes(32))).ask((first, second))
    assert show_difference(*sent, np.tile(np.append(first - second, 0)[:, None], SLOTS))


def test_a_copy_that_asks_for_the_same_pool_under_its_own_nonce_shows_nothing():
    sent = Copies((bytes(32), bytes([1] * 32))).ask(queries())
    assert show_nothing(*sent)


def test_errors_depend_on_the_nonce_too(monkeypatch):
    """The same errors under two matrices would be equations in the key without errors: C - C' = (A - A') S."""
    copies = Copies((bytes(32), bytes([1] * 32)))
    query = queries()[0]
    same = copies.ask((query, query))
    secret = copies.clients[0]._key._secret.astype(np.int64).astype(object)
    matrices = [
        wire_integers(client._key.matrix("pool 0", nonce).rows(0, FEATURES + 1).tobytes(), FEATURES + 1, TOY.dimension)
        for client, nonce in zip(copies.clients, (bytes(32), bytes([1] * 32)), strict=True)
    ]
    left = centred(same[0] - same[1] - (matrices[0] - matrices[1]) @ secret)
    assert left.any()


def test_a_restored_pool_encrypts_nothing():
    copies = Copies((bytes(32), bytes(32)))
    query = queries()[0]
    scales = copies.clients[0].query_scales
    copies.clients[0].encrypt(0, 0, query[None])
    restored = SUITE.head_encryptor(copies.shape, SESSION, session_entropy())
    provider = SUITE.head_evaluator(copies.shape, SESSION, np.ones((FEATURES, 2)), np.ones(2), SystemEntropy())
    provider.accept_key(restored.key_material())
    restored.restore_pool(0, provider.prepare(0, bytes(32)), bytes(32), {0: scales(0, 0)})
    for slot in range(SLOTS):
        with pytest.raises(LocalProtocolError, match="second query"):
            restored.encrypt(0, slot, query[None])
