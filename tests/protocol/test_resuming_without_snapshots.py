"""Suites that cannot be kept go on after a lost connection and with a new provider, from the first row if need be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.durable import DurableTraining
from support.pair import TrainingCase

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol import streams
from securealign.protocol.states import State
from securealign.protocol.training import client


class Unkept(PlaintextSuite):
    """Keeps nothing of a session beyond the objects that hold it, as the native suites do."""

    @property
    def info(self):
        return replace(super().info, restorable=False)

    def covariance_evaluator(self, shape, session, rows, entropy):
        evaluator = super().covariance_evaluator(shape, session, rows, entropy)
        evaluator.checkpoint = lambda: None
        return evaluator


@pytest.fixture(autouse=True)
def many_messages(monkeypatch):
    monkeypatch.setattr(client, "MAX_CHUNK_BYTES", 80)
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", 80)


def session(steps=None):
    made = DurableTraining(case=TrainingCase(suites=(Unkept(),), rows=12))
    made.start_client()
    made.carry(until=steps)
    return made


def steps():
    whole = session()
    assert whole.client.machine.state is State.DONE
    return whole.steps, whole.product()


@pytest.mark.parametrize("crash", [False, True])
def test_training_goes_on_after_the_provider_has_lost_its_sums(crash):
    count, expected = steps()
    for step in range(1, count):
        interrupted = session(step)
        interrupted.crash_provider() if crash else interrupted.disconnect()
        interrupted.connect()
        interrupted.carry()
        assert interrupted.client.machine.state is State.DONE, step
        assert (interrupted.product() == expected).all()


def test_a_client_that_has_lost_its_keys_does_not_go_on():
    count, _ = steps()
    refused = 0
    for step in range(4, count - 2):
        interrupted = session(step)
        interrupted.crash_client()
        interrupted.start_client()
        with pytest.raises(RemoteProtocolError) as caught:
            interrupted.carry()
        assert caught.value.code is ErrorCode.SESSION_ROLLED_BACK
        refused += 1
    assert refused > 5
