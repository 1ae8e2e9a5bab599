"""Recordings of both ends of real sessions: the same bytes as in one process, and what is left of a session that fails.

Nothing depends on how long anything takes: times are compared with each other, sizes and digests are exact.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.peers import Provider, bundles, embeddings, inference, next_event, random_head
from support.sites import make_site, provider_process, run_client
from support.toy import TOY
from typer.testing import CliRunner

from securealign import align_in_process, classify_in_process
from securealign.alignment import AlignmentMap, LinearHead
from securealign.alignment.checks import rows_with_checks
from securealign.cli import app
from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.client.inputs import open_inputs
from securealign.errors import ConfigurationError, ErrorCode, ExitCode, PeerAborted, SecurealignError
from securealign.harness.runs.checking import check_run
from securealign.harness.runs.reading import read_run
from securealign.harness.runs.simulated import record_sessions
from securealign.harness.simulation import Conditions, built_in_networks
from securealign.he.lwe.suite import LweSuite
from securealign.he.registry import get_suite
from securealign.pki.certificates import Role, load_bundle
from securealign.protocol.messages import UNNAMED_SPACE, Query
from securealign.provider.recordings import RunLogs
from securealign.recording import measured
from securealign.recording.measured import RunLog, SessionRecorder
from securealign.settings import load_settings
from securealign.transport.grpc_server import INFERENCE_METHOD, TRAINING_METHOD, ProviderServer
from securealign.transport.meter import Began, Meter

ROWS, DIM_A, DIM_B, QUERIES, BATCH, SLOTS = 120, 24, 16, 20, 3, 8
#: Names that a provider in this process gives to classes that have none, so that its messages are as long.
CLASSES = ("0", "1", "2")

PROVIDER = f"""
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public_a.npy"
[head]
folder = "head"
[policy]
max_queries = {rows_with_checks(QUERIES)}
[record]
folder = "recordings"
"""

CLIENT = f"""
[provider]
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
[inference]
pool_slots = {SLOTS}
"""


def site_in(folder: Path) -> Path:
    """Make a folder with what both organisations have."""
    settings = {"provider.toml": PROVIDER, "client.toml": CLIENT}
    return make_site(folder, settings, (ROWS, DIM_A, DIM_B), CLASSES)


@contextmanager
def provider(site, *arguments):
    """Run the provider as a process; yields a function that returns the next line of its log, and its port."""
    with provider_process(site / "provider.toml", *arguments) as (process, listening):
        yield SimpleNamespace(port=listening["port"], next_line=lambda: next_event(process), process=process)


def client(site, port, command, *arguments):
    """Run the client to its end."""
    return run_client(site / "client.toml", port, command, "--json", *arguments)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Both programs have aligned and classified once: what each end recorded, by phase."""
    site = site_in(tmp_path_factory.mktemp("site"))
    with provider(site) as running:
        for command, *arguments in (
            ("align",),
            ("classify", "--embeddings", str(site / "private.npy"), "--batch", str(BATCH)),
        ):
            done = client(site, running.port, command, "--record", str(site / "out" / f"{command}.jsonl"), *arguments)
            assert done.returncode == 0, done.stderr
            assert running.next_line()["event"] == "session done"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(600) == 0
    theirs = [read_run(file) for file in sorted((site / "recordings").iterdir())]
    return SimpleNamespace(
        site=site,
        client={"training": read_run(site / "out/align.jsonl"), "inference": read_run(site / "out/classify.jsonl")},
        provider={run.sessions[0].about.kind: run for run in theirs},
    )


@pytest.fixture(scope="module")
def simulated(recorded):
    """The same work in one process, by phase."""
    load, site = np.load, recorded.site
    training = align_in_process(load(site / "public_a.npy"), load(site / "public_b.npy"), suite="lwe", ridge="auto")
    head = LinearHead.from_pretrained(site / "head")
    queries = AlignmentMap.from_pretrained(site / "alignment").apply(load(site / "private.npy"))
    inference = classify_in_process(head.weight, head.bias, queries, suite="lwe", pool_slots=SLOTS, batch=BATCH)
    return {"training": training.session, "inference": inference.session}


PHASES = pytest.mark.parametrize("kind", ["training", "inference"])
SIDES = pytest.mark.parametrize("side", ["client", "provider"])
TOTALS = ("bytes_up", "bytes_down", "messages_up", "messages_down", "rounds")


def session(recorded, side, kind):
    (one,) = getattr(recorded, side)[kind].sessions
    return one


def by_type(stats):
    """Return count, payload bytes and wire bytes of each type of message in each direction."""
    return {(row.type, row.phase, row.direction): (row.count, row.bytes, row.wire_bytes) for row in stats.messages}


def totals(kind):
    """Return the figures that do not depend on time: a pool travels beside queries, in rounds of its own or theirs."""
    return TOTALS if kind == "training" else TOTALS[:-1]


def by_phase(stats, kind):
    """Return what was counted in each phase in which a message passed."""
    counted = {name: tuple(getattr(phase, figure) for figure in totals(kind)) for name, phase in stats.phases.items()}
    return {name: figures for name, figures in counted.items() if any(figures)}


@pytest.mark.thorough
@PHASES
@SIDES
class TestTheSameIsCountedEverywhere:
    def test_by_type_of_message(self, recorded, simulated, side, kind):
        assert by_type(session(recorded, side, kind).stats) == by_type(simulated[kind].counted)

    def test_by_phase(self, recorded, simulated, side, kind):
        assert by_phase(session(recorded, side, kind).stats, kind) == by_phase(simulated[kind].counted, kind)

    def test_in_all(self, recorded, simulated, side, kind):
        stats, counted = session(recorded, side, kind).stats, simulated[kind].counted
        for name in totals(kind):
            assert getattr(stats, name) == getattr(counted, name)

    @pytest.mark.parametrize("network", built_in_networks())
    @pytest.mark.thorough
    def test_over_every_network(self, recorded, simulated, side, kind, network):
        stats = simulated[kind].stats(Conditions(network=built_in_networks()[network]))
        assert by_type(session(recorded, side, kind).stats) == by_type(stats)
        assert by_phase(session(recorded, side, kind).stats, kind) == by_phase(stats, kind)


@PHASES
@SIDES
def test_bytes_on_the_wire_are_those_of_one_process(recorded, simulated, side, kind):
    stats, counted = session(recorded, side, kind).stats, simulated[kind].counted
    assert (stats.wire_up, stats.wire_down) == (counted.wire_up, counted.wire_down)
    for name, phase in counted.phases.items():
        if not phase.wire_up:
            continue  # the client's own mathematics, of which a provider knows nothing
        assert (stats.phases[name].wire_up, stats.phases[name].wire_down) == (phase.wire_up, phase.wire_down)


@PHASES
def test_both_ends_recorded_the_same_messages(recorded, kind):
    """The digests in each direction are the same sequence; which of two that cross was first, each sees differently."""
    ends = [session(recorded, side, kind) for side in ("client", "provider")]
    for direction in ("up", "down"):
        mine, theirs = (
            [(x.type, x.bytes, x.sha256) for x in end.messages if x.direction == direction] for end in ends
        )  # fmt: skip
        assert mine == theirs
        assert len({digest for *_, digest in mine}) > len(mine) / 2


@PHASES
def test_both_ends_confirmed_the_same_transcript(recorded, kind):
    ends = [session(recorded, side, kind).end for side in ("client", "provider")]
    assert ends[0].transcript == ends[1].transcript is not None
    assert all((end.state, end.error) == ("done", None) for end in ends)


@PHASES
@SIDES
def test_a_recording_holds_up_against_the_protocol(recorded, side, kind):
    (sentence,) = check_run(getattr(recorded, side)[kind])
    assert "confirmed by both" in sentence


@PHASES
@SIDES
class TestOneEnd:
    def test_it_is_described(self, recorded, side, kind):
        run = getattr(recorded, side)[kind]
        command = {("client", "training"): "align", ("client", "inference"): "classify"}.get((side, kind), "serve")
        assert (run.about.side, run.about.command, run.about.clock) == (side, command, "measured")
        assert run.about.started is not None

    def test_it_says_what_the_session_in_one_process_says(self, recorded, simulated, side, kind):
        about, same = session(recorded, side, kind).about, simulated[kind]
        assert (about.kind, about.suite, about.parameter_set) == (kind, same.suite.name, same.suite.parameter_set)
        assert about.facts == same.facts

    def test_it_knows_its_own_times_alone(self, recorded, side, kind):
        one = session(recorded, side, kind)
        sends = "up" if side == "client" else "down"
        for message in one.messages:
            known, unknown = (message.sent, message.received)[:: 1 if message.direction == sends else -1]
            assert known is not None
            assert unknown is None
        assert {compute.party for compute in one.computes} == {side}

    def test_its_times_are_in_order(self, recorded, side, kind):
        one = session(recorded, side, kind)
        seen = [message.sent if message.sent is not None else message.received for message in one.messages]
        assert seen == sorted(seen)
        assert max(seen) <= one.end.t
        begun = [compute.t for compute in one.computes]
        assert begun == sorted(begun)
        for before, after in zip(one.computes, one.computes[1:], strict=False):
            assert before.t + before.seconds <= after.t + 1e-9
        assert one.computes[-1].t + one.computes[-1].seconds <= one.end.t + 1e-9

    def test_its_compute_adds_up(self, recorded, side, kind):
        one = session(recorded, side, kind)
        for phase, costs in one.stats.phases.items():
            booked = sum(compute.seconds for compute in one.computes if compute.phase == phase)
            assert booked <= getattr(costs, f"{side}_seconds") + 1e-9

    def test_a_connection_is_the_clients(self, recorded, side, kind):
        connects = session(recorded, side, kind).connects
        assert len(connects) == (1 if side == "client" else 0)
        if connects:
            assert connects[0].seconds > 0
            assert connects[0].t + connects[0].seconds <= session(recorded, side, kind).messages[1].received


@PHASES
def test_a_simulated_run_file_holds_the_same_messages_but_for_their_randomness(recorded, simulated, kind, tmp_path):
    record_sessions(tmp_path / "run.jsonl", [simulated[kind]], None, command="test")
    (inside,) = read_run(tmp_path / "run.jsonl").sessions
    over = session(recorded, "client", kind)
    for direction in ("up", "down"):
        said = [[(x.type, x.bytes) for x in one.messages if x.direction == direction] for one in (inside, over)]
        assert said[0] == said[1]
    assert inside.end.transcript != over.end.transcript


def test_the_page_of_all_recordings_can_be_made(recorded, tmp_path):
    files = [*sorted((recorded.site / "out").iterdir()), *sorted((recorded.site / "recordings").iterdir())]
    assert len(files) == 4
    done = CliRunner().invoke(app, ["report", *map(str, files), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == ExitCode.OK, done.output


def test_recordings_are_for_their_owners_alone(recorded):
    for file in (*(recorded.site / "out").iterdir(), *(recorded.site / "recordings").iterdir()):
        assert file.stat().st_mode & 0o077 == 0


def test_embeddings_are_in_no_recording(recorded):
    """The numbers that both parties keep to themselves, as bytes and as digits."""
    written = b"".join(
        file.read_bytes()
        for file in (*(recorded.site / "out").iterdir(), *(recorded.site / "recordings").iterdir())
    )  # fmt: skip
    for name in ("public_a", "public_b", "private"):
        for value in np.load(recorded.site / f"{name}.npy").ravel()[:200]:
            assert value.tobytes() not in written
            assert repr(float(value))[:10].encode() not in written
    # The control: what is recorded is found.
    assert session(recorded, "client", "training").end.transcript.encode() in written
    assert b"public text" not in written


@pytest.mark.thorough
def test_without_being_asked_neither_end_records(tmp_path):
    site = site_in(tmp_path)
    (site / "provider.toml").write_text(PROVIDER.partition("[record]")[0], encoding="utf-8")
    with provider(site) as running:
        assert client(site, running.port, "align").returncode == 0
    assert [file.name for file in site.rglob("*.jsonl")] == ["public.jsonl"]


class TestFailures:
    """Sessions that do not end well, between the programs as they are."""

    @pytest.fixture
    def site(self, tmp_path):
        return site_in(tmp_path)

    def ours(self, site):
        return site / "out.jsonl"

    @pytest.mark.thorough
    def test_a_refusal_before_an_agreement_leaves_no_file_at_the_client(self, site):
        with provider(site, "--set", "policy.min_rows=1000") as running:
            refused = client(site, running.port, "align", "--record", str(self.ours(site)))
            logged = running.next_line()
        assert refused.returncode == ExitCode.REFUSED
        assert logged["event"] == "session refused"
        assert json.loads(refused.stdout)["error"] == logged["code"] == "TOO_FEW_ROWS"
        assert not self.ours(site).exists()
        for file in (site / "recordings").iterdir():
            assert [one.end.error for one in read_run(file).sessions] == ["TOO_FEW_ROWS"]

    @pytest.mark.thorough
    def test_a_client_without_a_provider_leaves_no_file(self, site):
        done = client(site, 1, "align", "--record", str(self.ours(site)), "--set", "provider.patience_seconds=0.01")
        assert json.loads(done.stdout)["error"] == "PEER_UNREACHABLE"
        assert [file.name for file in site.iterdir() if "out.jsonl" in file.name] == []

    def test_a_problem_that_is_refused_here_leaves_no_file(self, site):
        settings = load_settings(ClientSettings, site / "client.toml", ["alignment.ridge=-1.0"])
        with pytest.raises(ConfigurationError, match="ridge"):
            Client(settings).align(nothing, nothing, self.ours(site))
        assert [file.name for file in site.iterdir() if "out.jsonl" in file.name] == []

    def test_a_state_that_cannot_be_opened_leaves_no_file(self, site):
        (site / "client-state").write_text("no folder", encoding="utf-8")
        settings = load_settings(ClientSettings, site / "client.toml", [])
        with pytest.raises((OSError, SecurealignError)):
            Client(settings).align(nothing, nothing, self.ours(site))
        assert [file.name for file in site.iterdir() if "out.jsonl" in file.name] == []

    @pytest.mark.thorough
    def test_a_provider_that_dies_is_named_and_what_goes_on_later_is_a_recording_of_its_own(self, site):
        with provider(site) as running:
            address, impatient = f"provider.address=127.0.0.1:{running.port}", "provider.patience_seconds=0"
            settings = load_settings(ClientSettings, site / "client.toml", [address, impatient])

            def kill(sent, _total):
                if sent:
                    running.process.kill()
                    running.process.wait()

            with pytest.raises(SecurealignError) as caught:
                Client(settings).align(nothing, kill, self.ours(site))
        assert caught.value.code is ErrorCode.CONNECTION_LOST
        (one,) = read_run(self.ours(site)).sessions
        assert (one.end.error, one.end.transcript) == ("CONNECTION_LOST", None)
        assert not one.done
        assert "ended as CONNECTION_LOST" in check_run(read_run(self.ours(site)))[0]

        with provider(site, "--set", f"server.address=127.0.0.1:{running.port}") as again:
            Client(settings).align(nothing, nothing, site / "later.jsonl")
            assert again.next_line()["event"] == "session done"
        (rest,) = read_run(site / "later.jsonl").sessions
        assert rest.done
        assert {message.type for message in rest.messages}.isdisjoint({"TrainingHello", "KeyChunk"})
        assert "begun before this recording" in check_run(read_run(site / "later.jsonl"))[0]

    def test_a_session_that_the_provider_ends_after_the_agreement_is_recorded_with_its_code_at_both_ends(self, site):
        unnamed = {"space": UNNAMED_SPACE.hex()}
        AlignmentMap(embeddings(DIM_B, DIM_A, 5), np.zeros(DIM_A), unnamed).save_pretrained(site / "alignment")
        head = LinearHead.from_pretrained(site / "head")
        owner = Provider(np.load(site / "public_a.npy"), head, [get_suite("lwe")])

        def fail(event):
            if event.message is Query:
                raise ValueError("a fault")

        owner.on_event = fail
        with serving(owner, load_bundle(site / "certs/provider", Role.PROVIDER), site / "recordings") as (
            address,
            told,
        ):
            settings = load_settings(ClientSettings, site / "client.toml", [f"provider.address={address}"])
            np.save(site / "two.npy", embeddings(2, DIM_B))
            client = Client(settings)
            options = client.options()
            source, ours = site / "two.npy", self.ours(site)
            with client.open_results(site / "two.tsv", "two", options, overwrite=False) as results:
                classify = partial(client.classify, lambda: open_inputs(source), results, options, nothing, record=ours)
                with pytest.raises(PeerAborted):
                    classify()
            assert told.wait(600)
        (theirs,) = (site / "recordings").iterdir()
        ends = [read_run(file).sessions[0].end for file in (self.ours(site), theirs)]
        assert [(end.error, end.state, end.transcript) for end in ends] == [("INTERNAL", "aborted", None)] * 2


def nothing(_done, _total):
    """Show no progress."""


SUITES = [LweSuite(TOY)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("certificates") / "certs")


@pytest.fixture
def owner():
    head = random_head(DIM_A, CLASSES)
    return Provider(embeddings(ROWS, DIM_A, 2), head, list(SUITES))


@contextmanager
def serving(owner, bundle, folder):
    """Serve in this process and record into a folder; yields the address and an event that tells of reports."""
    run_logs, reported = RunLogs(folder), threading.Event()

    def report(session):
        owner.report(session)
        run_logs.report(session)
        reported.set()

    server = ProviderServer(
        "127.0.0.1:0",
        bundle,
        {TRAINING_METHOD: owner.make_training, INFERENCE_METHOD: owner.make_inference},
        report=report,
        listen=run_logs.listen,
    )
    server.start()
    try:
        yield f"127.0.0.1:{server.port}", reported
    finally:
        server.stop(0)


def ask(address, bundle, reported):
    """Have three queries answered and wait until the provider has reported the session."""
    reported.clear()
    with inference(address, bundle, DIM_A, SUITES) as opened:
        logits = opened.logits(embeddings(3, DIM_A, 4))
        opened.close()
    assert reported.wait(600)
    return logits


def full(*_arguments, **_options):
    raise OSError(28, "No space left on device")


class TestRecordingsOfTheProvider:
    def test_there_is_one_for_each_stream(self, owner, certificates, tmp_path):
        with serving(owner, certificates[0], tmp_path / "new") as (address, reported):
            for _ in range(2):
                ask(address, certificates[1], reported)
        files = sorted((tmp_path / "new").iterdir())
        assert len(files) == 2
        assert all(check_run(read_run(file)) for file in files)

    @pytest.mark.parametrize("what", ["opened", "written", "closed"])
    def test_it_goes_on_serving_when_they_cannot_be(self, owner, certificates, tmp_path, monkeypatch, what):
        breaks = {
            "opened": (measured.writing, "RunFile"),
            "written": (SessionRecorder, "hear"),
            "closed": (os, "fsync"),
        }
        with serving(owner, certificates[0], tmp_path) as (address, reported):
            expected = ask(address, certificates[1], reported)
            with monkeypatch.context() as patch, capture_logs() as logs:
                patch.setattr(*breaks[what], full)
                answered = ask(address, certificates[1], reported)
            ask(address, certificates[1], reported)
        assert np.allclose(answered, expected, atol=0.01)
        (entry,) = [entry for entry in logs if entry["event"] == "a run file cannot be written"]
        assert (entry["log_level"], entry["reason"]) == ("warning", "No space left on device")
        assert owner.reports[1].error is None
        # Those before and after are whole, and nothing else is left.
        assert len([read_run(file) for file in tmp_path.iterdir()]) == 2

    def test_a_client_that_leaves_is_recorded_with_the_reason(self, owner, certificates, tmp_path):
        with serving(owner, certificates[0], tmp_path) as (address, reported):
            with inference(address, certificates[1], DIM_A, SUITES) as opened:
                opened.logits(embeddings(3, DIM_A, 4))
            assert reported.wait(600)
        (file,) = tmp_path.iterdir()
        (one,) = read_run(file).sessions
        assert one.end.error == owner.reports[0].error.code.name
        assert one.end.transcript is None


@pytest.mark.parametrize("when", ["hear", "end"])
def test_a_disk_that_becomes_full_costs_the_client_its_recording_and_not_its_session(tmp_path, monkeypatch, when):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SessionRecorder, when, full)
    path = tmp_path / "run.jsonl"
    with RunLog(path, command="test", side="client") as run_log:
        run_log(Began("client", 0.0))
        with run_log.of(None, Meter("client")):
            run_log(Began("client", 1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_shall_not_record_takes_note_of_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunLog(None, command="test", side="client") as run_log:
        run_log(Began("client", 0.0))
    assert list(tmp_path.iterdir()) == []
