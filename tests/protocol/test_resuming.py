"""Sessions that lose connections and processes at any point end as if nothing had happened."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from support.durable import DurableInference, DurableTraining, FixedRoot
from support.journal import MemoryJournal
from support.pair import LABELS, PLAINTEXT, TOY_LWE, InferenceCase, TrainingCase
from support.tiers import first_quick

from securealign.he.labels import transfer
from securealign.protocol import streams
from securealign.protocol.states import State
from securealign.storage.folder import Sealers, StateFolder
from securealign.storage.session_store import SessionStore

SUITES = {"plaintext": PLAINTEXT, "toy": TOY_LWE}
#: What takes most of the time of a label-only session under the toy set. Sessions with the same seeds ask for the same.
CURVE = {name: functools.cache(getattr(transfer, name)) for name in ("_mask", "_private", "_public", "_shared")}


@pytest.fixture(params=SUITES)
def suites(request):
    return (SUITES[request.param],)


@pytest.fixture(autouse=True)
def many_messages(monkeypatch):
    """Cut rows into pieces, so that a short session has many messages."""
    from securealign.protocol.training import client

    monkeypatch.setattr(client, "MAX_CHUNK_BYTES", 600)
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", 2000)


@pytest.fixture(autouse=True)
def points_computed_once(monkeypatch):
    for name, cached in CURVE.items():
        monkeypatch.setattr(transfer, name, cached)


@pytest.fixture(params=["memory", "disk"])
def journals(request, tmp_path):
    """Make journals in memory, or in one state folder."""
    if request.param == "memory":
        yield MemoryJournal
        return
    folder = StateFolder(tmp_path, Sealers(FixedRoot()))
    # No power is lost here: what a dead process has written is there, whether or not the disk has it.
    with folder.database.reading() as connection:
        connection.execute("PRAGMA synchronous=OFF")
    records = SessionStore(folder)
    numbers = itertools.count()
    yield lambda: records.create(f"session {next(numbers)}", "any")
    folder.close()


def training(suites, journals=MemoryJournal):
    return DurableTraining(case=TrainingCase(suites=suites, rows=12), make_journal=journals)


def inference(suites, journals=MemoryJournal):
    return DurableInference(case=InferenceCase(suites=suites), make_journal=journals)


def labels(suites, journals=MemoryJournal):
    return DurableInference(case=InferenceCase(suites=suites, policy=LABELS), make_journal=journals)


def finish(session):
    session.carry()
    assert session.client.machine.state is State.DONE
    assert session.provider is None or session.provider.machine.state is State.DONE


def lose_connection(session):
    session.disconnect()
    session.connect()


def kill_provider(session):
    session.crash_provider()
    session.connect()


def kill_client(session):
    session.crash_client()
    session.start_client()


def kill_both(session):
    session.crash_client()
    session.crash_provider()
    session.start_client()


ACCIDENTS = [lose_connection, kill_provider, kill_client, kill_both]


def steps(session):
    session.start_client()
    finish(session)
    return session.steps


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_training_goes_on_after_an_accident_at_any_step(suites, accident, journals):
    whole = training(suites)
    count = steps(whole)
    expected = whole.product()
    for step in range(1, count):
        session = training(suites, journals)
        session.start_client()
        session.carry(until=step)
        accident(session)
        finish(session)
        assert (session.product() == expected).all(), step


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_inference_goes_on_after_an_accident_at_any_step(suites, accident, journals):
    whole = inference(suites)
    count = steps(whole)
    expected = whole.answers()
    for step in range(1, count):
        session = inference(suites, journals)
        session.start_client()
        session.carry(until=step)
        accident(session)
        finish(session)
        # Slots that were given up change the noise, and nothing else.
        assert np.allclose(session.answers(), expected, atol=1e-3), step


#: With small chunks the choices and tables of the plaintext suite come in pieces, so that accidents happen within them.
LABELLED = {
    "plaintext": (PLAINTEXT, 4),
    "toy": pytest.param(TOY_LWE, 4000, marks=pytest.mark.thorough),
}


@pytest.mark.parametrize(("suite", "chunk"), LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("accident", first_quick(ACCIDENTS, 2))
def test_label_only_inference_goes_on_after_an_accident_at_any_step(suite, chunk, accident, journals, monkeypatch):
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", chunk)
    whole = labels((suite,))
    count = steps(whole)
    expected = whole.case.labelled(whole.case.queries(whole.queries))
    assert (whole.answers() == expected).all()
    for step in range(1, count):
        session = labels((suite,), journals)
        session.start_client()
        session.carry(until=step)
        accident(session)
        finish(session)
        assert (session.answers() == expected).all(), step
