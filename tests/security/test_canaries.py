"""Values that must stay where they are, and a search for them in everything that leaves a party or that it prints.

Whole sessions run over both transports with recognisable texts, embeddings, queries, weights and keys. Under the suite
without encryption the same search has to find those that travel.
"""

from __future__ import annotations

import base64
import json
import pickle
import struct
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
import structlog
from support import peers
from support.entropy import SeededEntropy
from support.lwe_attacks import HEADER_BYTES
from support.machines import inference_client, training_client
from support.toy import TOY

from securealign.alignment import AlignmentMap, LinearHead
from securealign.client.config import ClientSettings
from securealign.data import dataset_digest, load_texts
from securealign.data.datasets import TextDataset
from securealign.errors import ErrorCode, RemoteProtocolError, SecurealignError
from securealign.he.lwe.keys import PublicKey, SecretKey
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.logs import configure_logs
from securealign.matrices import Rows, as_matrix
from securealign.models import load_embeddings
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.protocol.machine import SessionMachine
from securealign.protocol.messages import Prepare
from securealign.protocol.randomness import SessionEntropy
from securealign.provider.app import _report
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import TRAINING_METHOD, Peer, SessionReport
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.transport.steps import InProcessLink
from securealign.wire import InferenceCodec

SUITES = {"toy": LweSuite(TOY), "plaintext": PlaintextSuite()}
TEXT = "the patient was given canary seed"
#: One number each, of which no statistic of a session comes near.
NUMBERS = {
    "client's embedding": 7.310585786300049,
    "provider's embedding": -6.238178121930712,
    "query": 8.807970779778824,
    "weight": -5.622459331201855,
    "bias": 9.525741268224334,
}
ROWS, DIM_A, DIM_B, CLASSES = 8, 3, 3, 2


def forms(number):
    """Return the bytes by which a number is known: both float types in both byte orders, and its digits."""
    digits = repr(abs(number))
    shown = (digits, digits[:12], f"{abs(number):.8f}", str(np.float32(abs(number))))
    packed = (struct.pack(layout, number) for layout in ("<d", ">d", "<f", ">f"))
    return {*packed, *(text.encode() for text in shown)}


def octet_forms(octets):
    """Return the bytes by which a piece of a secret is known: raw, as Python and in hexadecimal and base64."""
    shown = (repr(octets)[2:-1], octets.hex(), base64.b64encode(octets).decode()[:-4])
    return {octets, *(text.encode() for text in shown)}


def text_forms(text):
    return {text.encode(), text.encode("utf-16-le"), base64.b64encode(text.encode())[:-4]}


CANARIES = {name: forms(number) for name, number in NUMBERS.items()} | {"text": text_forms(TEXT)}


def found(canaries, places):
    """Return the names of the canaries that occur in any of the places, which are bytes or texts."""
    octets = [place if isinstance(place, bytes) else place.encode() for place in places]
    return {
        name for name, needles in canaries.items() if any(needle in place for place in octets for needle in needles)
    }


@pytest.mark.parametrize("name", CANARIES)
def test_the_search_finds_every_form_anywhere(name):
    noise = np.random.default_rng(0).bytes(4096)
    assert found(CANARIES, [noise]) == set()
    for needle in CANARIES[name]:
        assert found(CANARIES, [noise[:1001] + needle + noise[1001:]]) == {name}
        assert found(CANARIES, [noise[:1001] + needle[:-1] + noise[1001:]]) <= {name}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_search_finds_a_number_however_it_is_printed(name):
    number = NUMBERS[name]
    matrix = np.array([[1.0, number], [0.5, 2.0]])
    for shown in (f"{matrix}", f"{matrix!r}", f"{matrix.astype(np.float32)!r}", f"{matrix.tolist()}", f"{number}"):
        assert found(CANARIES, [shown]) == {name}


@dataclass
class Recorder:
    """What sessions gave away, and what they kept."""

    frames: list[bytes] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    objects: list[object] = field(default_factory=list)
    reports: list[SessionReport] = field(default_factory=list)
    entropies: list[RecordingEntropy] = field(default_factory=list)
    secrets: list[SecretKey] = field(default_factory=list)
    #: What clients derived from their sources for one session.
    derived: list[bytes] = field(default_factory=list)
    #: Replaces the frames that a provider receives.
    alter: object = staticmethod(lambda frame: frame)

    def entropy(self):
        self.entropies.append(RecordingEntropy(f"source {len(self.entropies)}".encode()))
        return self.entropies[-1]

    def printed(self):
        """Return all that could be printed of errors, their causes, and objects."""
        texts = [text for thing in self.objects for text in (repr(thing), str(thing), f"{[thing]}")]
        pending = list(self.errors)
        while pending:
            error = pending.pop()
            texts += traceback.format_exception(error)
            texts += [repr(error), repr(error.args), repr(vars(error).get("message")), repr(vars(error).get("hint"))]
            context = None if error.__suppress_context__ else error.__context__
            pending += [cause for cause in (error.__cause__, context) if cause is not None]
        return texts


class RecordingEntropy(SeededEntropy):
    """Keeps what it gave out."""

    def __init__(self, seed):
        super().__init__(seed)
        self.drawn = []

    def octets(self, count):
        octets = super().octets(count)
        self.drawn.append(octets.tobytes())
        return octets


@pytest.fixture
def recorder(monkeypatch):
    """Record every frame that a party receives, every key that is made, and all randomness."""
    record = Recorder()
    receive, make_secret, make_public = SessionMachine.receive, SecretKey.__init__, PublicKey.__init__
    derive = SessionEntropy.octets

    def recording_receive(party, data):
        record.frames.append(data)
        record.objects.append(party)
        return receive(party, data if party.is_client else record.alter(data))

    def recording_secret(key, *arguments):
        make_secret(key, *arguments)
        record.secrets.append(key)
        record.objects.append(key)

    def recording_public(key, *arguments):
        make_public(key, *arguments)
        record.objects.append(key)

    def recording_derive(source, count):
        octets = derive(source, count)
        record.derived.append(octets.tobytes())
        return octets

    monkeypatch.setattr(SessionEntropy, "octets", recording_derive)
    monkeypatch.setattr(SessionMachine, "receive", recording_receive)
    monkeypatch.setattr(SecretKey, "__init__", recording_secret)
    monkeypatch.setattr(PublicKey, "__init__", recording_public)
    monkeypatch.setattr(peers, "SystemEntropy", record.entropy)
    monkeypatch.setattr(peers, "DIGEST", dataset_digest([TEXT] * ROWS))
    return record


@pytest.fixture
def z_b():
    """What the client encrypts; a column of ones makes the provider's column sums part of the product."""
    rows = np.random.default_rng(0).normal(size=(ROWS, DIM_B))
    rows[0, 1] = NUMBERS["client's embedding"]
    rows[:, -1] = 1
    return rows


@pytest.fixture
def provider(recorder):
    """A provider whose row and weights a client without encryption would read off the results."""
    rows = np.zeros((ROWS, DIM_A))
    rows[0] = [NUMBERS["provider's embedding"], 1, 2]
    weight = np.random.default_rng(1).normal(size=(DIM_A, CLASSES))
    weight[0, 1] = NUMBERS["weight"]
    head = LinearHead(weight, np.array([NUMBERS["bias"], 0.0]), ("no", "yes"))
    return peers.Provider(rows, head, [])


#: A canary, a unit vector, whose logits are a row of weights, and zero, whose logits are the bias.
QUERIES = np.array([[0.25, NUMBERS["query"], 0.5], [1, 0, 0], [0, 0, 0]])


class InProcess:
    """Sessions of two machines in this process."""

    def __init__(self, recorder, provider, suite):
        self._recorder, self._provider, self._suite = recorder, provider, suite
        self._peer = Peer("in process", loopback=True)

    def align(self, rows, digest):
        meter = Meter(counted="client")
        client = recording_client(self._recorder, self._suite, rows, digest)
        party = self._provider.make_training(self._peer, meter.observer("provider"))
        try:
            return train(InProcessLink(client, party, meter), client, meter)
        finally:
            self._report(party, meter)

    def classify(self, queries):
        meter = Meter(counted="client")
        client = inference_client([self._suite], DIM_A, entropy=self._recorder.entropy(), slots=4)
        party = self._provider.make_inference(self._peer, meter.observer("provider"))
        try:
            session = InferenceSession(InProcessLink(client, party, meter), client, meter)
            logits = session.logits(queries)
            session.close()
            return logits
        finally:
            self._report(party, meter)

    def _report(self, party, meter):
        self._recorder.reports.append(SessionReport(party.kind, self._peer, party.error, meter.stats(), party))


class OverGrpc:
    """Sessions with a real server on loopback."""

    def __init__(self, recorder, provider, suite, folder):
        self._recorder, self._provider, self._suite = recorder, provider, suite
        self._bundles = peers.bundles(folder / "certs")
        recorder.objects += self._bundles

    def align(self, rows, digest):
        meter = Meter(counted="client")
        client = recording_client(self._recorder, self._suite, rows, digest)
        with self._serving() as address:
            link = GrpcLink(address, self._bundles[1], TRAINING_METHOD, client, meter, deadline_seconds=600)
            with link:
                return train(link, client, meter)

    def classify(self, queries):
        with (
            self._serving() as address,
            peers.inference(address, self._bundles[1], DIM_A, [self._suite]) as session,
        ):
            self._recorder.objects.append(session)
            logits = session.logits(queries)
            session.close()
            return logits

    @contextmanager
    def _serving(self):
        with peers.serving(self._provider, self._bundles[0]) as (address, server):
            self._recorder.objects.append(server)
            try:
                yield address
            finally:
                self._recorder.reports.append(self._provider.next_report())


def recording_client(recorder, suite, rows, digest):
    return training_client([suite], Rows(rows, name="Z_B"), digest, entropy=recorder.entropy())


@pytest.fixture(params=["in process", "gRPC"])
def sessions(request, recorder, provider, tmp_path):
    """Make sessions of a suite over each transport."""

    def make(name):
        provider.suites = [SUITES[name]]
        if request.param == "gRPC":
            return OverGrpc(recorder, provider, SUITES[name], tmp_path)
        return InProcess(recorder, provider, SUITES[name])

    yield make
    structlog.reset_defaults()


def run_all(sessions, z_b, provider):
    """Train and classify, and check that the results are right: what is searched is a session that works."""
    product = sessions.align(z_b, peers.DIGEST)
    assert np.allclose(product, provider.rows.T @ z_b, atol=0.05)
    assert np.allclose(sessions.classify(QUERIES), provider.head.logits(QUERIES), atol=0.05)


def logged(recorder, capsys):
    """Return what a provider logs of the sessions, for machines and for people."""
    for as_json in (True, False):
        configure_logs(as_json=as_json, quiet=False)
        for report in recorder.reports:
            _report(report)
            structlog.get_logger().warning("everything", report=report, **vars(report))
    out, err = capsys.readouterr()
    assert out.count("\n") == 2 * len(recorder.reports)
    assert "everything" in err
    return [out, err]


def test_nothing_private_leaves_a_party_or_is_printed(sessions, recorder, provider, z_b, capsys):
    run_all(sessions("toy"), z_b, provider)
    assert sum(map(len, recorder.frames)) > 5000
    assert {type(thing).__name__ for thing in recorder.objects} >= {
        *("TrainingClient", "TrainingProvider", "InferenceClient", "InferenceProvider", "SecretKey", "PublicKey"),
    }
    assert found(CANARIES, recorder.frames) == set()
    assert found(CANARIES, recorder.printed()) == set()
    assert found(CANARIES, logged(recorder, capsys)) == set()


def test_without_encryption_the_search_finds_what_travels(sessions, recorder, provider, z_b, capsys):
    run_all(sessions("plaintext"), z_b, provider)
    assert found(CANARIES, recorder.frames) == set(NUMBERS)
    # Encryption is not what keeps values out of logs.
    assert found(CANARIES, recorder.printed()) == set()
    assert found(CANARIES, logged(recorder, capsys)) == set()


def windows(octets, size=24):
    """Return pieces of a secret, long enough that none occurs by chance."""
    return {octets[first : first + size] for first in range(0, len(octets) - size + 1, max(size, len(octets) // 16))}


def seeds(recorder):
    """Return what clients drew for their public matrices: the beginning of every public key."""
    bodies = [key.public[HEADER_BYTES:] for key in recorder.secrets]
    return {body[first : first + 32] for body in bodies for first in (0, 32)} & set(recorder.derived)


def pool_nonces(recorder):
    """Return the nonces with which clients asked for pools."""
    for frame in recorder.frames:
        with suppress(RemoteProtocolError):
            message = InferenceCodec().decode(frame)
            if isinstance(message, Prepare):
                yield message.nonce


def test_no_secret_key_and_no_noise_leaves_a_party_or_is_printed(sessions, recorder, provider, z_b, capsys):
    run_all(sessions("toy"), z_b, provider)
    assert len(recorder.secrets) == 2
    secrets = {}
    for number, key in enumerate(recorder.secrets):
        values = key._secret
        for kind in ("<f8", "<f4", "i1", "<i8"):
            pieces = windows(values.astype(kind).tobytes(), 64)
            secrets[f"key {number} as {kind}"] = set().union(*map(octet_forms, pieces))
    asked = set(pool_nonces(recorder))
    assert asked
    drawn = {
        f"source {number}, draw {call}": octets
        for number, entropy in enumerate(recorder.entropies)
        for call, octets in enumerate(entropy.drawn)
        # What a party draws first is its nonce, and a client draws one for each pool.
        if call and octets not in asked
    }
    public = seeds(recorder)
    drawn |= {f"derived {call}": octets for call, octets in enumerate(recorder.derived) if octets not in public}
    secrets |= {name: set().union(*map(octet_forms, windows(octets))) for name, octets in drawn.items()}
    assert len(secrets) > 20
    assert found(secrets, recorder.frames) == set()
    assert found(secrets, recorder.printed()) == set()
    assert found(secrets, logged(recorder, capsys)) == set()


def test_the_search_for_randomness_finds_what_is_public_of_it(sessions, recorder, provider, z_b):
    run_all(sessions("toy"), z_b, provider)
    nonces = {
        f"nonce of source {number}": octet_forms(entropy.drawn[0]) for number, entropy in enumerate(recorder.entropies)
    }
    public = {f"seed {number}": octet_forms(octets) for number, octets in enumerate(seeds(recorder))}
    assert (len(nonces), len(public)) == (4, 4)
    assert found(nonces | public, recorder.frames) == set(nonces | public)


def caught(recorder, code, action):
    with pytest.raises(SecurealignError) as caught:
        action()
    recorder.errors.append(caught.value)
    assert caught.value.code is code


@pytest.mark.parametrize("suite", SUITES)
class TestFailures:
    """Sessions that fail in every place where private values are at hand."""

    @pytest.fixture(autouse=True)
    def _output(self, capsys):
        self.capsys = capsys

    def assert_silent(self, recorder):
        assert recorder.errors
        recorder.errors += [report.error for report in recorder.reports if report.error is not None]
        assert found(CANARIES, recorder.printed()) == set()
        assert found(CANARIES, logged(recorder, self.capsys)) == set()

    def test_other_public_texts(self, sessions, recorder, z_b, suite):
        other = dataset_digest([TEXT])
        caught(recorder, ErrorCode.DATASET_MISMATCH, lambda: sessions(suite).align(z_b, other))
        self.assert_silent(recorder)

    def test_a_frame_that_is_cut_on_its_way(self, sessions, recorder, z_b, suite):
        recorder.alter = lambda frame: frame[:-1] if len(recorder.frames) > 4 else frame
        with pytest.raises(SecurealignError) as failure:
            sessions(suite).align(z_b, peers.DIGEST)
        recorder.errors.append(failure.value)
        assert failure.value.code in {ErrorCode.FRAME_MALFORMED, ErrorCode.CIPHERTEXT_MALFORMED}
        self.assert_silent(recorder)

    def test_a_fault_inside_the_provider(self, sessions, recorder, provider, z_b, suite):
        provider.rows[0, 2] = np.nan
        with pytest.raises(SecurealignError) as failure:
            sessions(suite).align(z_b, peers.DIGEST)
        recorder.errors.append(failure.value)
        self.assert_silent(recorder)

    @pytest.mark.parametrize("queries", [np.where(QUERIES == 0.5, np.nan, QUERIES), QUERIES[:, :-1]])
    def test_queries_that_do_not_fit(self, sessions, recorder, suite, queries):
        with pytest.raises(SecurealignError) as failure:
            sessions(suite).classify(queries)
        recorder.errors.append(failure.value)
        assert failure.value.code in {ErrorCode.NON_FINITE_INPUT, ErrorCode.SHAPE_MISMATCH}
        self.assert_silent(recorder)

    def test_embeddings_that_are_not_finite(self, sessions, recorder, z_b, suite):
        z_b[0, 0] = np.inf
        caught(recorder, ErrorCode.NON_FINITE_INPUT, lambda: sessions(suite).align(z_b, peers.DIGEST))
        assert found(CANARIES, recorder.printed()) == set()


def test_keys_refuse_to_be_written(sessions, recorder, provider, z_b):
    run_all(sessions("toy"), z_b, provider)
    for key in recorder.secrets:
        with pytest.raises(TypeError, match="cannot be pickled") as failure:
            pickle.dumps(key)
        assert repr(key) == "<SecretKey of toy>"
        assert "<SecretKey of toy>" not in str(failure.value)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def save(path, matrix):
    np.save(path, matrix)
    return path


PRIVATE = np.array([[NUMBERS["query"], NUMBERS["weight"]], [NUMBERS["bias"], np.nan]])
FINITE = np.nan_to_num(PRIVATE)
REFUSED = {
    "broken JSON": lambda folder: load_texts(write(folder / "a.jsonl", f'{{"text": "{TEXT}')),
    "no object": lambda folder: load_texts(write(folder / "a.jsonl", json.dumps([TEXT]))),
    "no text": lambda folder: load_texts(write(folder / "a.jsonl", json.dumps({"text": [TEXT]}))),
    "half a pair": lambda folder: load_texts(write(folder / "a.jsonl", json.dumps({"text": TEXT + "\ud800"}))),
    "no UTF-8": lambda folder: load_texts(write(folder / "a.txt", TEXT.encode() + b"\xff")),
    "too many cells": lambda folder: load_texts(write(folder / "a.csv", f"text\n{TEXT},{TEXT}\n")),
    "an open quote": lambda folder: load_texts(write(folder / "a.csv", f'text\n"{TEXT}" x\n')),
    "a header missing": lambda folder: load_texts(write(folder / "a.csv", f"{TEXT}\n{TEXT}\n")),
    "no string": lambda folder: TextDataset(name="private", texts=(TEXT.encode(),)),
    "texts as numbers": lambda folder: as_matrix([[TEXT]], "The matrix"),
    "a row that is not finite": lambda folder: Rows(PRIVATE).block(0, 2),
    "a file that is not finite": lambda folder: load_embeddings(save(folder / "a.npy", PRIVATE)),
    "three dimensions": lambda folder: load_embeddings(save(folder / "a.npy", FINITE[None])),
    "objects": lambda folder: load_embeddings(save(folder / "a.npy", np.array([[TEXT]], dtype=object))),
    "a cut file": lambda folder: load_embeddings(
        write(folder / "a.npy", save(folder / "b.npy", FINITE).read_bytes()[:-8])
    ),
    "no safetensors": lambda folder: load_embeddings(write(folder / "a.safetensors", FINITE.tobytes())),
    "a head of another shape": lambda folder: LinearHead(FINITE, FINITE[0], ("a", "b", "c")),
    "a head that is not finite": lambda folder: LinearHead(PRIVATE, FINITE[0], ("a", "b")),
    "a map of another shape": lambda folder: AlignmentMap(FINITE, FINITE[0, :1]),
    "a query of another shape": lambda folder: AlignmentMap(FINITE, FINITE[0]).apply(FINITE[:, :1]),
    "a query that is not finite": lambda folder: AlignmentMap(FINITE, FINITE[0]).apply(PRIVATE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_not_quoted(tmp_path, case):
    with pytest.raises(SecurealignError) as failure:
        REFUSED[case](tmp_path)
    assert found(CANARIES, Recorder(errors=[failure.value]).printed()) == set()


def test_an_error_that_quotes_would_be_noticed():
    error = SecurealignError("It broke.")
    error.__cause__ = ValueError(f"could not read {TEXT!r} beside {PRIVATE}")
    assert found(CANARIES, Recorder(errors=[error]).printed()) == {"text", "query", "weight", "bias"}


def test_settings_and_bundles_print_paths_and_roles_and_no_key(tmp_path):
    create_certificates(tmp_path / "certs", days=1)
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": TEXT}), encoding="utf-8")
    common = '[public]\ntexts = "data.jsonl"\nembeddings = "e.npy"\n'
    provider = write(tmp_path / "provider.toml", f'[server]\ncertificates = "certs/provider"\n{common}')
    client = write(tmp_path / "client.toml", f'[provider]\ncertificates = "certs/client"\n{common}')
    bundles = [load_bundle(tmp_path / "certs" / role.label, role) for role in Role]
    settings = [load_settings(ProviderSettings, provider, []), load_settings(ClientSettings, client, [])]
    lines = [line for bundle in bundles for line in bundle.private_key.splitlines() if b"-----" not in line]
    secrets = {f"line {number}": {line} for number, line in enumerate(lines)} | CANARIES
    assert found(secrets, Recorder(objects=[*bundles, *settings]).printed()) == set()
    assert found(secrets, [bundle.private_key for bundle in bundles]) == set(secrets) - set(CANARIES)
