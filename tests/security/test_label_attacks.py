"""What either party of label-only answers learns, and what it would learn if one protection were missing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy import stats
from support.labels import TRANSFER_SEED, LabelPair
from support.lwe_attacks import SMALLEST_P, head_pair, random_head
from support.pools import NONCE
from support.toy import SESSION, TOY

from securealign.errors import CiphertextError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.interface import LabelTerms
from securealign.he.labels import extension
from securealign.he.labels.client import PoolTables
from securealign.he.labels.garbling import colours, select
from securealign.he.labels.transfer import BaseReceiver, answer_offer
from securealign.he.lwe import sampling
from securealign.he.lwe.parameters import RESIDUE_BYTES
from securealign.he.lwe.residues import unpack_answer
from securealign.he.lwe.suite import LweSuite
from securealign.protocol.randomness import SessionEntropy

FEATURES = 7


def pair_of(classes: int = 5, slots: int = 16, **more) -> LabelPair:
    pair = LabelPair(*random_head(1, FEATURES, classes), slots=slots, **more)
    pair.load()
    return pair


def some_queries(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, FEATURES))


def sent_labels(pair: LabelPair, answer: bytes, count: int) -> np.ndarray:
    """The provider's labels in an answer, (count, t, m, 2)."""
    layout = pair.encryptor._plan.layout
    data = answer[HEADER_BYTES : HEADER_BYTES + 16 * layout.wires * count]
    return np.frombuffer(data, dtype="<u8").reshape(count, layout.bits, layout.rows, 2)


def with_labels(tables: PoolTables, labels: np.ndarray) -> PoolTables:
    """Return the same tables with other labels of the client's bits."""
    other = copy.copy(tables)
    other.labels = labels
    return other


# A slot that is answered twice


def test_two_answers_under_one_slot_show_delta_and_with_it_the_providers_share():
    """The attack that answering a slot once prevents: a client evaluates for shares of its choice."""
    pair = pair_of(classes=2, slots=1)
    encryptor, layout = pair.encryptor, pair.encryptor._plan.layout
    answers = []
    for asked in (some_queries(1), -9 * some_queries(1, seed=4)):
        encryptor._pools[0].used.clear()
        query = encryptor.encrypt(0, 0, asked)
        answers.append(pair.evaluator.evaluate(0, 0, 1, query))
    first, second = (sent_labels(pair, answer, 1).reshape(-1, 2) for answer in answers)
    moved = np.flatnonzero((first != second).any(axis=1))
    deltas = np.unique(first[moved] ^ second[moved], axis=0)
    assert len(deltas) == 1
    assert len(moved) > 3

    tables = encryptor._choosing[0].tables
    own = encryptor._shares(0)
    body = memoryview(answers[1])[HEADER_BYTES:]

    def negative(share: int) -> bool:
        flipped = ((own[0, 0] ^ share) >> np.arange(layout.bits) & 1).astype(np.uint8)
        labels = tables.labels ^ select(flipped[None, :, None], np.broadcast_to(deltas[0], tables.labels.shape))
        return bool(encryptor._labels.read(with_labels(tables, labels), 0, 1, body)[0, 0])

    # The sum of both shares changes its sign where the client's share makes it zero.
    shares = [share for share in range(0, 1 << layout.bits, 256) if negative(share - 256) and not negative(share)]
    low = shares[0] - 256
    share = next(share for share in range(low, low + 257) if not negative(share % (1 << layout.bits)))
    values = pair.evaluator._masked(0, 0, 1, query).high >> (40 - layout.bits)
    assert -share % (1 << layout.bits) == values[0, 0]


def test_one_answer_shows_no_delta():
    pair = pair_of()
    query = pair.encryptor.encrypt(0, 0, some_queries(1))
    answer = pair.evaluator.evaluate(0, 0, 1, query)
    layout, garbled = pair.encryptor._plan.layout, pair.evaluator._garbled[0]
    delta = pair.evaluator._labels._secrets(garbled.seed, slice(0, 1)).deltas[0]
    tables = pair.encryptor._choosing[0].tables
    held = np.vstack([sent_labels(pair, answer, 1).reshape(-1, 2), tables.labels[0].reshape(-1, 2)])
    assert len(held) == 2 * layout.wires
    differences = {tuple(row) for label in held for row in (held ^ label).tolist()}
    assert tuple(delta.tolist()) not in differences


# Inconsistent choices


@pytest.fixture(scope="module")
def base():
    receiver = BaseReceiver(SESSION, TRANSFER_SEED)
    pairs = answer_offer(SESSION, receiver.offer, SessionEntropy(b"client"))
    return receiver.choices, receiver.keys(pairs.reply), pairs


WHERE = extension.place(SESSION, 0, NONCE)
COUNT = 128


def inconsistent(pairs, changes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Choices of 0, to which `changes` (128 columns, 128 transfers) are added; hashes are those of the honest ones."""
    honest = extension._hashes

    def changed(where, sent, columns):
        sent[:, : COUNT // 8] ^= np.packbits(changes, axis=1, bitorder="little")
        return honest(where, sent, columns)

    with monkeypatch.context() as patch:
        patch.setattr(extension, "_hashes", changed)
        return extension.choose(pairs.zeros, pairs.ones, WHERE, np.zeros(COUNT, np.uint8), np.ones(16, np.uint8))


def test_inconsistent_columns_pass_only_where_s_is_zero(base, monkeypatch):
    s, keys, pairs = base
    for column in range(8):
        changes = np.zeros((128, COUNT), dtype=np.uint8)
        changes[column, 5] = 1
        data = memoryview(inconsistent(pairs, changes, monkeypatch))
        if s[column]:
            with pytest.raises(CiphertextError):
                extension.accept(s, keys, WHERE, data, COUNT)
        else:
            extension.accept(s, keys, WHERE, data, COUNT)
    assert set(s[:8].tolist()) == {0, 1}


@pytest.mark.parametrize("checked", [True, False])
def test_without_the_check_a_client_reads_s_and_every_delta(checked, base, monkeypatch):
    """Transfer n chooses otherwise in column n alone, so that its label tells bit n of s."""
    s, keys, pairs = base
    data = memoryview(inconsistent(pairs, np.eye(128, dtype=np.uint8), monkeypatch))
    if checked:
        with pytest.raises(CiphertextError):
            extension.accept(s, keys, WHERE, data, COUNT)
        return
    monkeypatch.setattr(extension, "_hashes", lambda where, sent, columns: np.zeros((128, 16), np.uint8))
    blank = bytes(data[: -16 * 129]) + bytes(16 * 129)
    rows = extension.accept(s, keys, WHERE, memoryview(blank), COUNT).rows(0, COUNT)
    labels = extension.correlate(rows, WHERE)
    own = extension.receive(pairs.zeros, WHERE, 0, COUNT)
    # Evaluation goes right with one of two labels: the client sees with which.
    read = (labels != extension.correlate(own, WHERE)).any(axis=1).astype(np.uint8)
    assert (read == s).all()
    vector = np.packbits(read, bitorder="little").view("<u8")
    delta = np.array([1 << 63 | 12345, 6789], dtype=np.uint64)
    sent = labels ^ extension.correlate(rows ^ np.packbits(s, bitorder="little").view("<u8"), WHERE) ^ delta
    unit = np.packbits(np.diag(read), axis=1, bitorder="little").view("<u8")
    known = own ^ unit
    assert (sent ^ extension.correlate(known, WHERE) ^ extension.correlate(known ^ vector, WHERE) == delta).all()


# What the provider sees


def test_nothing_that_a_client_sends_depends_on_tables_and_answers():
    """Selective failure: tables or answers altered for one choice would show a bit of H S if a failure were visible."""
    random = np.random.default_rng(0)

    def transcript(*, altered: bool) -> tuple[list[bytes], list[float]]:
        pair = LabelPair(*random_head(1, FEATURES, 5), slots=16)
        encryptor, evaluator = pair.encryptor, pair.evaluator
        sent, labels = [encryptor.key_material()], []
        for pool in range(2):
            encryptor.load_pool(pool, evaluator.prepare(pool, NONCE), NONCE)
            sent.append(encryptor.choose(pool))
            tables = b"".join(evaluator.garble(pool, sent[-1]))
            encryptor.load_tables(pool, noisy(tables) if altered else tables)
            for first in (0, 9):
                sent.append(encryptor.encrypt(pool, first, some_queries(7)))
                answer = evaluator.evaluate(pool, first, 7, sent[-1])
                labels += encryptor.decrypt(pool, first, noisy(answer) if altered else answer)[:, 0].tolist()
        return sent, labels

    def noisy(data: bytes) -> bytes:
        body = np.frombuffer(data[HEADER_BYTES:], dtype=np.uint8)
        return data[:HEADER_BYTES] + (body ^ random.integers(0, 256, len(body), dtype=np.uint8)).tobytes()

    honest, labels = transcript(altered=False)
    sent, wrong = transcript(altered=True)
    assert sent == honest
    assert labels != wrong


@pytest.mark.parametrize("fresh", [True, False])
def test_a_client_that_was_set_back_shows_nothing_of_its_shares(fresh, monkeypatch):
    """Same root and same Accept, hence the same base keys; without the nonce in the keystream, columns show x ^ x'."""
    if not fresh:
        monkeypatch.setattr(extension, "place", lambda session, pool, nonce: session + pool.to_bytes(8, "big"))
    pair = LabelPair(*random_head(1, FEATURES, 5), slots=16)
    layout = pair.encryptor._plan.layout
    columns, shares = [], []
    for nonce in (b"a" * 32, b"b" * 32):
        client = LweSuite(TOY).head_encryptor(pair.shape, SESSION, SessionEntropy(b"root"), pair.evaluator.offer())
        pair.evaluator.accept_key(client.key_material())
        client.load_pool(0, pair.evaluator.prepare(0, nonce), nonce)
        data = np.frombuffer(client.choose(0)[HEADER_BYTES:], dtype=np.uint8)
        columns.append(data[: -16 * 129].reshape(128, -1)[:, : layout.transfers // 8])
        bits = client._shares(0).T[:, None, :] >> np.arange(layout.bits)[:, None] & 1
        shares.append(np.packbits(bits.astype(np.uint8), bitorder="little"))
    difference = columns[0] ^ columns[1]
    shown = [(column == shares[0] ^ shares[1]).all() for column in difference]
    assert not any(shown) if fresh else all(shown)
    if fresh:
        ones = int(np.unpackbits(difference).sum())
        assert stats.binomtest(ones, difference.size * 8).pvalue > SMALLEST_P


# What the client sees


def test_colours_of_the_labels_in_an_answer_are_uniform():
    pair = pair_of(classes=9, slots=128)
    query = pair.encryptor.encrypt(0, 0, some_queries(128))
    labels = sent_labels(pair, pair.evaluator.evaluate(0, 0, 128, query), 128)
    values = pair.evaluator._masked(0, 0, 128, query).high >> 24
    bits = (values.T[:, None, :] >> np.arange(16)[:, None] & 1).astype(np.uint8)
    for seen in (colours(labels), colours(labels) ^ bits):
        assert stats.binomtest(int(seen.sum()), seen.size).pvalue > SMALLEST_P


#: P_j = 2^69 e_j: R P spreads an entry of R, 11 bits, over the whole modulus.
FORGED_BIT = 69


def forge(evaluator, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Give the provider a forged P, and return the list in which its R appears."""
    words, halves = (np.zeros_like(plane) for plane in evaluator._key._zeros)
    slots = np.arange(words.shape[1])
    halves[slots, slots] = 1 << (FORGED_BIT - 64)
    evaluator._key._zeros = words, halves
    drawn: list[np.ndarray] = []
    honest = sampling.wide
    monkeypatch.setattr(sampling, "wide", lambda entropy, shape: drawn.append(honest(entropy, shape)) or drawn[-1])
    return drawn


def zero_query(encryptor, features: int, slots: int) -> bytes:
    body = bytes(RESIDUE_BYTES * slots * (features + 1))
    return encryptor._key.binding.seal(Kind.HEAD_QUERY, body, index=0, rows=features + 1, columns=slots)


def test_a_forged_key_reads_one_bit_of_a_slot(monkeypatch):
    """Two classes: the label is the sign of an entry of R, and nothing else of it shows."""
    slots = 32
    pair = LabelPair(*random_head(1, FEATURES, 2), slots=slots, terms=LabelTerms(segments=1))
    encryptor = pair.encryptor
    drawn = forge(pair.evaluator, monkeypatch)
    monkeypatch.setattr(encryptor, "_shares", lambda pool: np.zeros((1, slots), dtype=np.int64))
    pair.load()
    encryptor.encrypt(0, 0, some_queries(slots))
    answer = pair.evaluator.evaluate(0, 0, slots, zero_query(encryptor, FEATURES, slots))
    labels = encryptor.decrypt(0, 0, answer)
    entries = drawn[0][0, :slots]
    assert (labels[:, 0] == (entries < 0)).all()
    assert set(labels.ravel()) == {0.0, 1.0}
    assert LweSuite(TOY).head_sizes(pair.shape).answer_bits == 1


def test_the_same_key_reads_whole_entries_from_logits(monkeypatch):
    """The control: logits of the same head, under the same forged key."""
    slots = 32
    encryptor, evaluator = head_pair(*random_head(1, FEATURES, 2), slots)
    drawn = forge(evaluator, monkeypatch)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    answer = evaluator.evaluate(0, 0, slots, zero_query(encryptor, FEATURES, slots))
    values = unpack_answer(memoryview(answer)[HEADER_BYTES:], (2, slots))
    step = FORGED_BIT - 40
    read = ((values + (1 << (step - 1))) >> step) % 2048
    assert (read == drawn[0][:, :slots] % 2048).all()
