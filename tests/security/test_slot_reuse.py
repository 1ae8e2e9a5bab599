"""Two queries under one mask show the provider their difference: in one session, after a restart, from a snapshot.

The provider of these attacks works on the bytes it received, and on nothing else. In the controls the client forgets
which slots it used, the provider repeats its nonce, or randomness is not bound to the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats
from support.entropy import SeededEntropy
from support.lwe_attacks import (
    HEADER_BYTES,
    SMALLEST_P,
    N,
    Q,
    centred,
    expanded,
    head_pair,
    random_head,
    secret_integers,
    solve,
    wire_integers,
)
from support.machines import inference_client, inference_provider
from support.pair import TOY_LWE, InferenceCase, Pair, TrainingCase
from support.pools import NONCE

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, LocalProtocolError
from securealign.he.lwe.keys import PublicMatrix
from securealign.matrices import FloatMatrix
from securealign.protocol import client as client_module
from securealign.protocol import messages as m
from securealign.protocol.negotiation import session_id
from securealign.wire import InferenceCodec

FEATURES, TERMS, SLOTS = 11, 12, 100


def two_queries() -> FloatMatrix:
    """Two queries of equal norm, so that both travel at the same scale."""
    queries = np.random.default_rng(3).normal(size=(2, FEATURES))
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


FIRST, SECOND = two_queries()
#: What two queries differ in, with the constant that both end in.
DIFFERENCE = np.append(FIRST - SECOND, 0)


def show_difference(shown: np.ndarray) -> bool:
    """Whether what the provider computed is the difference of the two queries, at a scale that is a power of two."""
    scale = np.linalg.norm(shown) / np.linalg.norm(DIFFERENCE)
    exact = np.allclose(shown, scale * DIFFERENCE, rtol=1e-9, atol=scale * 1e-12)
    return bool(exact and np.log2(scale) == pytest.approx(round(np.log2(scale)), abs=1e-9))


def show_nothing(shown: np.ndarray) -> bool:
    """Whether many of them, shape (terms, slots), are uniform and unrelated to the difference of the queries."""
    unrelated = stats.pearsonr(shown.T.ravel(), np.tile(DIFFERENCE, shown.shape[1])).pvalue
    uniform = stats.kstest(shown.ravel() / float(Q), "uniform", args=(-0.5, 1)).pvalue
    return min(unrelated, uniform) > SMALLEST_P


# In one session.


def ciphertexts(query: bytes, count: int = 1) -> np.ndarray:
    """Return the residues of a query, shape (terms, count)."""
    return wire_integers(query[HEADER_BYTES:], TERMS, count)


def test_two_queries_in_one_slot_show_their_difference_if_the_client_forgets_the_first():
    encryptor, evaluator = head_pair(*random_head(1), slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    first = encryptor.encrypt(0, 0, FIRST[None])
    with pytest.raises(LocalProtocolError, match="second query"):
        encryptor.encrypt(0, 0, SECOND[None])
    encryptor._pools[0].used.clear()
    second = encryptor.encrypt(0, 0, SECOND[None])
    shown = centred(ciphertexts(first) - ciphertexts(second)).astype(np.float64).ravel()
    assert show_difference(shown)


def test_queries_in_two_slots_show_nothing():
    encryptor, evaluator = head_pair(*random_head(1), slots=2 * SLOTS)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    sent = [ciphertexts(encryptor.encrypt(0, slot, (FIRST, SECOND)[slot % 2][None])) for slot in range(2 * SLOTS)]
    shown = np.hstack([centred(sent[slot] - sent[slot + 1]) for slot in range(0, 2 * SLOTS, 2)]).astype(np.float64)
    assert show_nothing(shown)


# Over sessions, by the provider that saw both.


@dataclass
class Session:
    """An inference session whose client and provider draw from given sources."""

    client_source: bytes = b"snapshot"
    provider_source: bytes = b"provider"
    slots: int = SLOTS
    pair: Pair = field(init=False)

    def __post_init__(self):
        codec = InferenceCodec()
        head = LinearHead(*random_head(1, FEATURES, 2), ("no", "yes"))
        entropies = SeededEntropy(self.client_source), SeededEntropy(self.provider_source)
        client = inference_client([TOY_LWE], FEATURES, entropy=entropies[0], slots=self.slots)
        provider = inference_provider([TOY_LWE], head, entropy=entropies[1])
        self.pair = Pair(client, provider, codec)
        self.pair.start()
        self.pair.carry()

    def ask(self, query: FloatMatrix) -> np.ndarray:
        """Ask the same query in every slot and return the ciphertexts, shape (terms, slots)."""
        self.pair.up.extend(self.pair.client.submit(np.tile(query, (self.slots, 1))))
        self.pair.carry()
        return ciphertexts(self.received(m.Query)[0].data, self.slots)

    def received(self, kind: type) -> list[m.Message]:
        messages = (self.pair.codec.decode(carried.frame) for carried in self.pair.carried)
        return [message for message in messages if isinstance(message, kind)]

    @property
    def secret(self) -> np.ndarray:
        """S, which no attack may use."""
        return secret_integers(self.pair.client._encryptor._key)


@dataclass
class PublicPart:
    """What a provider makes of a client's key: its matrices, and P."""

    session: bytes
    body: bytes

    @classmethod
    def of(cls, pair: Pair) -> PublicPart:
        messages = [pair.codec.decode(carried.frame) for carried in pair.carried]
        hello, accept = messages[:2]
        nonces = hello.hello.nonce, accept.accept.nonce
        key = b"".join(message.data for message in messages if isinstance(message, m.KeyChunk))
        return cls(session_id(pair.client.kind, *nonces), key[HEADER_BYTES:])

    def pool(self, nonce: bytes, rows: int) -> np.ndarray:
        return expanded(PublicMatrix.derive("pool 0", self.session, self.body[:32], N, nonce), rows)

    @property
    def mask(self) -> np.ndarray:
        return expanded(PublicMatrix.derive("mask", self.session, self.body[32:64], N), N)

    @property
    def zeros(self) -> np.ndarray:
        return wire_integers(self.body[64:], N, (len(self.body) - 64) // (10 * N))


def solve_for_key(first: PublicPart, second: PublicPart) -> np.ndarray:
    """Return the S for which both public keys have the same S and E': P - P* = (A' - A'*) S."""
    return solve(first.mask - second.mask, first.zeros - second.zeros)


def unbound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients use their source of randomness as it is, whatever the session."""
    monkeypatch.setattr(client_module.SessionEntropy, "of", lambda root, session, accept: root._source)


def unbound_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let public matrices depend on the client's seed only."""
    derive = PublicMatrix.derive
    monkeypatch.setattr(
        PublicMatrix,
        "derive",
        lambda purpose, session, seed, columns, nonce=b"": derive(purpose, b"", seed, columns, nonce),
    )


def differences(first: Session, second: Session) -> np.ndarray:
    return centred(first.ask(FIRST) - second.ask(SECOND)).astype(np.float64)


def test_a_client_restored_under_a_repeated_nonce_shows_the_difference_of_its_queries():
    """The control: nothing a client can do helps if its memory and the provider's nonce both come again."""
    shown = differences(Session(), Session())
    assert all(show_difference(column) for column in shown.T)


def test_a_client_restored_under_matrices_of_no_session_shows_the_difference_of_its_queries(monkeypatch):
    unbound(monkeypatch)
    unbound_matrices(monkeypatch)
    shown = differences(Session(), Session(provider_source=b"provider after the restart"))
    assert all(show_difference(column) for column in shown.T)


def test_a_client_restored_from_a_snapshot_shows_nothing_of_its_queries():
    sessions = Session(), Session(provider_source=b"provider after the restart")
    assert show_nothing(differences(*sessions))
    assert not (sessions[0].secret == sessions[1].secret).all()


def test_matrices_of_the_session_alone_do_not_hide_the_key_of_a_restored_client(monkeypatch):
    """The control for randomness: with S and E' as before, the difference of two keys is linear in S, without noise."""
    unbound(monkeypatch)
    first, second = Session(), Session(provider_source=b"provider after the restart")
    # The difference of the queries themselves would look harmless.
    asked = first.ask(FIRST)
    assert show_nothing(centred(asked - second.ask(SECOND)).astype(np.float64))
    parts = PublicPart.of(first.pair), PublicPart.of(second.pair)
    recovered = solve_for_key(*parts)
    assert (recovered == first.secret).all()
    read = centred(asked - parts[0].pool(first.received(m.Prepare)[0].nonce, TERMS) @ recovered).astype(np.float64)
    for column in read.T:
        assert np.allclose(column / column[-1], np.append(FIRST, 1), atol=1e-9)


def test_the_key_of_a_restored_client_stays_hidden():
    first, second = Session(), Session(provider_source=b"provider after the restart")
    recovered = solve_for_key(PublicPart.of(first.pair), PublicPart.of(second.pair))
    assert not np.isin(recovered, (-1, 0, 1)).any()
    assert stats.pearsonr(recovered.astype(np.float64).ravel(), first.secret.astype(float).ravel()).pvalue > SMALLEST_P


@pytest.mark.parametrize("bound", [True, False])
def test_the_key_of_a_client_that_trains_again_from_a_snapshot(monkeypatch, bound):
    if not bound:
        unbound(monkeypatch)
    pairs = [TrainingCase(suites=(TOY_LWE,)).pair(SeededEntropy(b"snapshot")) for _ in range(2)]
    pairs[1].provider._entropy = SeededEntropy(b"provider after the restart")
    for pair in pairs:
        pair.start()
        pair.carry()
        pair.assert_done()
    recovered = solve_for_key(*map(PublicPart.of, pairs))
    secret = secret_integers(pairs[0].client._encryptor._key)
    assert (recovered == secret).all() != bound
    assert np.isin(recovered, (-1, 0, 1)).any() != bound


# What both parties refuse.


def test_a_client_hands_out_no_slot_again():
    session = Session(slots=4)
    session.ask(FIRST)
    assert session.pair.client.free_slots == 0
    with pytest.raises(LocalProtocolError, match="1 slots are needed and 0 are free"):
        session.pair.client.submit(SECOND[None])


def test_a_provider_answers_no_second_query_in_a_slot():
    """It has seen both by then; what it refuses is to make the client's mistake useful to anyone."""
    session = Session(slots=4)
    session.ask(FIRST)
    (query,) = session.received(m.Query)
    other = bytearray(query.data)
    other[-1] ^= 1
    replies = session.pair.to_provider(m.Query(pool=0, first_slot=0, count=4, data=bytes(other)))
    assert [type(reply) for reply in replies] == [m.Abort]
    assert session.pair.provider.error.code is ErrorCode.SLOT_REUSED


def test_a_provider_that_was_restarted_knows_no_old_session():
    session = Session(slots=4)
    session.ask(FIRST)
    (query,) = session.received(m.Query)
    provider = InferenceCase(suites=(TOY_LWE,), features=FEATURES, slots=4).pair().provider
    (reply,) = provider.receive(session.pair.codec.encode(query))
    assert isinstance(session.pair.codec.decode(reply), m.Abort)
    assert provider.error.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("client_source", [b"snapshot", b"another client"])
def test_a_query_of_an_old_session_is_refused_in_a_new_one(client_source):
    """The slots of the new session are free, its shape is the same, and so may be the client: the header differs."""
    old = Session(slots=4)
    old.ask(FIRST)
    (query,) = old.received(m.Query)
    new = Session(client_source, b"provider after the restart", slots=4)
    replies = new.pair.to_provider(query)
    assert [type(reply) for reply in replies] == [m.Abort]
    assert new.pair.provider.error.code is ErrorCode.CIPHERTEXT_MALFORMED
    assert new.received(m.Answer) == []


def test_a_client_takes_no_slot_of_an_old_session_along():
    """A new machine has a new key and no slots until its provider has sent a pool."""
    old = Session(slots=4)
    client = InferenceCase(suites=(TOY_LWE,), features=FEATURES, slots=4).pair().client
    assert client.free_slots == 0
    client.start()
    for pool in old.received(m.PoolChunk):
        (reply,) = client.receive(old.pair.codec.encode(pool))
        assert isinstance(old.pair.codec.decode(reply), m.Abort)
        assert client.error.code is ErrorCode.UNEXPECTED_MESSAGE
