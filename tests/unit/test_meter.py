"""What a meter books where, on a clock that a test moves by hand."""

from __future__ import annotations

import json

import pytest

from securealign.protocol import messages as m
from securealign.protocol.context import Event
from securealign.protocol.states import Direction
from securealign.transport.framing import CONNECTION, wire
from securealign.transport.meter import Began, Connected, Meter, Passed, Spent
from securealign.transport.stats import PhaseStats

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return Meter("client", clock)


def phases(meter):
    return meter.stats().phases


def test_time_before_a_message_goes_to_its_phase_and_the_rest_to_the_last_phase(meter, clock):
    observe = meter.observer("client")
    with meter.timed("client"):
        clock.work(1)
        observe(Event(SEND, m.KeyChunk, 10))
        clock.work(2)
        observe(Event(SEND, m.RowBatch, 20))
        clock.work(4)
    assert {name: phase.client_seconds for name, phase in phases(meter).items()} == {"keys": 1, "upload": 6}


def test_work_that_follows_a_received_message_goes_to_its_phase(meter, clock):
    with meter.timed("provider"):
        meter.observer("provider")(Event(RECEIVE, m.Query, 5))
        clock.work(3)
        meter.observer("provider")(Event(SEND, m.Answer, 5))
    assert phases(meter)["online"].provider_seconds == 3
    assert set(phases(meter)) == {"online"}


def test_a_named_phase_takes_the_whole_block(meter, clock):
    with meter.timed("client", "solve"):
        clock.work(7)
    assert phases(meter) == {"solve": PhaseStats(client_seconds=7)}


@pytest.mark.parametrize(
    ("arrives", "phase"), [(m.ResultChunk, "result"), (m.UploadAck, "keys"), (None, "keys")], ids=str
)
def test_waiting_goes_to_the_message_that_ends_it_unless_it_acknowledges(meter, clock, arrives, phase):
    with meter.timed("client"):
        meter.observer("client")(Event(SEND, m.KeyChunk, 5))
    with meter.timed("network"):
        clock.work(2)
    if arrives is not None:
        with meter.timed("client"):
            meter.observer("client")(Event(RECEIVE, arrives, 5))
    assert {name: stats.network_seconds for name, stats in phases(meter).items() if stats.network_seconds} == {phase: 2}


def test_a_block_that_raises_is_still_counted(meter, clock):
    def fail():
        with meter.timed("provider", "upload"):
            clock.work(2)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert phases(meter)["upload"].provider_seconds == 2


def test_silence_before_a_message_outside_a_timed_block_is_no_compute(meter, clock):
    with meter.timed("provider"):
        clock.work(1)
        meter.observer("provider")(Event(SEND, m.UploadAck, 5))
    clock.work(120)
    meter.observer("provider")(Event(SEND, m.Abort, 5))
    clock.work(120)
    assert meter.stats().provider_seconds == 1


@pytest.mark.parametrize("counted", ["client", "provider"])
def test_bytes_of_a_message_that_both_machines_report_are_counted_once(clock, counted):
    meter = Meter(counted, clock)
    client, provider = meter.observer("client"), meter.observer("provider")
    client(Event(SEND, m.Query, 100))
    provider(Event(RECEIVE, m.Query, 100))
    provider(Event(SEND, m.Answer, 30))
    client(Event(RECEIVE, m.Answer, 30))
    assert (meter.stats().bytes_up, meter.stats().bytes_down) == (100, 30)


def test_a_round_is_an_answer_after_the_client_spoke_and_acknowledgements_are_none(meter):
    observe = meter.observer("client")
    for direction, message in [
        (SEND, m.TrainingHello),
        (RECEIVE, m.TrainingAccept),
        (SEND, m.RowBatch),
        (RECEIVE, m.UploadAck),
        (SEND, m.RowBatch),
        (RECEIVE, m.UploadAck),
        (SEND, m.Finish),
        (RECEIVE, m.ResultChunk),
        (RECEIVE, m.ResultChunk),
        (SEND, m.Confirm),
        (RECEIVE, m.Confirm),
    ]:
        observe(Event(direction, message, 1))
    assert {name: phase.rounds for name, phase in phases(meter).items()} == {
        "handshake": 1,
        "upload": 0,
        "result": 1,
        "confirm": 1,
    }
    assert meter.stats().rounds == 3


@pytest.fixture
def busy(meter, clock):
    """A meter in which every figure of two phases has another value."""
    observe = meter.observer("client")
    for number, (up, down) in enumerate([(m.TrainingHello, m.TrainingAccept), (m.Query, m.Answer)], start=1):
        with meter.timed("client"):
            clock.work(number)
            observe(Event(SEND, up, 10 * number))
        with meter.timed("network"):
            clock.work(3 * number)
        with meter.timed("provider"):
            clock.work(5 * number)
        observe(Event(RECEIVE, down, 7 * number))
    return meter


FIGURES = (
    *("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"),
    *("client_seconds", "provider_seconds", "network_seconds", "total_seconds"),
)


@pytest.mark.parametrize("figure", FIGURES)
def test_totals_are_the_sums_over_the_phases(busy, figure):
    stats = busy.stats()
    total = sum(getattr(phase, figure) for phase in stats.phases.values())
    assert getattr(stats, figure) == total > 0


def test_the_dictionary_survives_json_and_holds_all_figures(busy):
    stats = busy.stats()
    figures = json.loads(json.dumps(stats.as_dict()))
    assert set(figures) == {*FIGURES, "phases", "messages"}
    assert figures["bytes_up"] == 30
    assert figures["total_seconds"] == 27
    assert figures["phases"]["online"] == {
        "bytes_up": 20,
        "bytes_down": 14,
        "wire_up": wire(20).forward + wire(14).backward,
        "wire_down": wire(14).forward + wire(20).backward,
        "messages_up": 1,
        "messages_down": 1,
        "rounds": 1,
        "client_seconds": 2,
        "network_seconds": 6,
        "provider_seconds": 10,
        "total_seconds": 18,
    }
    assert figures["messages"][2] == {
        "type": "Query",
        "phase": "online",
        "direction": "up",
        "count": 1,
        "bytes": 20,
        "wire_bytes": wire(20).forward,
    }


def test_messages_are_counted_by_type_and_direction(meter):
    observe = meter.observer("client")
    for direction, message, size in [
        (SEND, m.Confirm, 34),
        (RECEIVE, m.Confirm, 36),
        (SEND, m.Query, 5),
        (SEND, m.Query, 7),
    ]:
        observe(Event(direction, message, size))
    counted = {(row.type, row.direction): (row.count, row.bytes) for row in meter.stats().messages}
    assert counted == {("Confirm", "up"): (1, 34), ("Confirm", "down"): (1, 36), ("Query", "up"): (2, 12)}


def test_a_connection_costs_bytes_on_the_wire_and_the_time_of_the_block(meter, clock):
    with meter.connecting():
        clock.work(3)
    (handshake,) = phases(meter).values()
    assert (handshake.wire_up, handshake.wire_down) == CONNECTION
    assert handshake.network_seconds == 3
    assert handshake.bytes_up == handshake.messages_up == 0


def test_a_listener_hears_who_worked_and_what_passed(clock):
    heard = []
    meter = Meter("client", clock, listener=heard.append)
    with meter.timed("client"):
        clock.work(1)
        meter.observer("client")(Event(SEND, m.Query, 5, b"digest"))
        clock.work(2)
    with meter.connecting():
        clock.work(4)
    assert heard == [
        Began("client", 1000),
        Spent("client", "online", 1000, 1),
        Passed("client", Event(SEND, m.Query, 5, b"digest"), 1001),
        Spent("client", "online", 1001, 2),
        Began("network", 1003),
        Spent("network", "online", 1003, 4),
        Connected("network", 1003, 4),
    ]


def test_figures_that_were_read_do_not_change_when_the_session_goes_on(busy):
    before = busy.stats()
    busy.observer("client")(Event(SEND, m.Query, 1000))
    assert before.bytes_up == 30
    assert busy.stats().bytes_up == 1030
