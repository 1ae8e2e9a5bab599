"""Sessions over a network in virtual time: who works when, what the client waits for, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.entropy import SeededEntropy
from support.pair import TOY_LWE, dyadic

from securealign import align_in_process, classify_in_process
from securealign.harness.simulation import Conditions, Network, Timeline, built_in_networks, replay
from securealign.harness.simulation.replay import Travel, Work, in_turn, timeline_of
from securealign.protocol import messages as m
from securealign.protocol.context import Event
from securealign.protocol.states import Direction
from securealign.transport.meter import Began, Connected, Meter, Passed, Spent
from securealign.transport.stats import FIGURES, PhaseStats, RunStats
from securealign.transport.steps import CLIENT, PROVIDER, StepLog

#: Made-up embeddings that share no texts, or too little to tell.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE
#: No loss and no jitter; a message of some bytes takes half a round trip and little more.
NEAR = Network(name="near", round_trip_ms=1, up_mbit=10_000, down_mbit=10_000)
FAR = Network(name="far", round_trip_ms=100, up_mbit=10_000, down_mbit=10_000)
THIN = Network(name="thin", round_trip_ms=1, up_mbit=1, down_mbit=1)
ROUGH = Network(name="rough", round_trip_ms=30, jitter_ms=20, up_mbit=5, down_mbit=20, loss=0.02)
COUNTED = [name for name in FIGURES if not name.endswith("seconds")]
patient = settings(deadline=None)


def over(network, **changes):
    """Conditions under which nothing is recorded, unless a test says how long that takes."""
    return Conditions(network=network, **{"record_seconds": 0.0, **changes})


def step(side, *, takes=None, sends=(), seconds=0.0, phase="upload"):
    """Return what a meter says of a side that takes a message, computes for a phase, and sends messages."""
    return [
        Began(side, 0.0),
        *([Passed(side, Event(RECEIVE, takes, 100), 0.0)] if takes else []),
        Spent(side, phase, 0.0, seconds),
        *(Passed(side, Event(SEND, kind, size), 0.0) for kind, size in sends),
        Spent(side, phase, 0.0, 0.0),
    ]


def log_of(*steps):
    log = StepLog()
    for activities in steps:
        for activity in activities:
            log.hear(activity)
    return log


def works(timeline, side, *, idle=False):
    return [work for work in timeline.works if work.party == side and (idle or work.seconds)]


def question(*, client=1.0, provider=2.0, after=0.5, size=100):
    """Return a log of one question and one answer."""
    return log_of(
        step(CLIENT, seconds=client, sends=[(m.Query, size)], phase="online"),
        step(PROVIDER, takes=m.Query, seconds=provider, sends=[(m.Answer, size)], phase="online"),
        step(CLIENT, takes=m.Answer, seconds=after, phase="online"),
    )


class TestJob:
    def test_a_step_is_what_a_party_does_between_two_waits(self):
        log = question()
        first, last = log.steps[CLIENT]
        assert first.received is None
        assert [event.message for event in first.sent] == [m.Query]
        assert first.spent == [("online", 1.0), ("online", 0.0)]
        assert last.received.message is m.Answer
        assert last.sent == []
        assert [side for side, _ in log.order] == [CLIENT, PROVIDER, CLIENT]

    def test_the_network_takes_no_step(self):
        log = question()
        for activity in step("network", seconds=5.0):
            log.hear(activity)
        assert set(log.steps) == {CLIENT, PROVIDER}
        assert replay(log, over(NEAR)) == replay(question(), over(NEAR))

    def test_a_connection_is_no_step(self):
        log = question()
        log.hear(Connected(CLIENT, 0.0, 1.0))
        assert log.steps == question().steps

    def test_messages_that_are_sent_together_stay_together_and_in_order(self):
        (only,) = log_of(step(CLIENT, sends=[(m.KeyChunk, 1), (m.RowBatch, 2), (m.Finish, 3)])).steps[CLIENT]
        assert [event.size for event in only.sent] == [1, 2, 3]


class TestInTurn:
    def test_one_party_works_at_a_time_and_nothing_travels(self):
        timeline = in_turn(question())
        assert [(work.party, work.at, work.seconds) for work in timeline.works if work.seconds] == [
            (CLIENT, 0.0, 1.0),
            (PROVIDER, 1.0, 2.0),
            (CLIENT, 3.0, 0.5),
        ]
        assert timeline.end == 3.5
        assert timeline.connecting == (0.0, 0.0)

    def test_a_message_lies_where_it_is_until_it_is_taken(self):
        timeline = in_turn(
            log_of(
                step(CLIENT, seconds=1, sends=[(m.KeyChunk, 10), (m.RowBatch, 20)]),
                step(PROVIDER, takes=m.KeyChunk, seconds=4),
                step(PROVIDER, takes=m.RowBatch, seconds=1),
            )
        )
        assert [(travel.sent, travel.received) for travel in timeline.travels] == [(1, 1), (1, 5)]
        assert all(travel.up for travel in timeline.travels)


class TestReplay:
    def test_a_question_takes_both_computations_and_a_round_trip(self):
        timeline = replay(question(), over(FAR))
        (begun, connecting) = timeline.connecting
        asked, answered = timeline.travels
        assert begun == 1.0
        assert asked.sent == pytest.approx(1.0 + connecting)
        assert asked.received >= asked.sent + 0.05
        assert answered.sent == pytest.approx(asked.received + 2.0)
        assert answered.received >= answered.sent + 0.05
        assert timeline.end == pytest.approx(answered.received + 0.5)

    def test_what_is_said_is_recorded_before_it_leaves(self):
        timeline = replay(question(), over(FAR, record_seconds=10.0))
        asked, answered = timeline.travels
        assert asked.sent == pytest.approx(1.0 + 10.0 + timeline.connecting[1])
        assert answered.sent == pytest.approx(asked.received + 2.0 + 10.0)
        # What is received alone is not.
        assert timeline.end == pytest.approx(answered.received + 0.5)

    def test_acknowledgements_leave_unrecorded_and_a_step_is_recorded_once(self):
        log = log_of(
            step(CLIENT, seconds=1, sends=[(m.KeyChunk, 10), (m.KeyChunk, 10)]),
            step(PROVIDER, takes=m.KeyChunk, seconds=1, sends=[(m.UploadAck, 4)]),
            step(PROVIDER, takes=m.KeyChunk, seconds=1, sends=[(m.UploadAck, 4)]),
            step(CLIENT, takes=m.UploadAck),
            step(CLIENT, takes=m.UploadAck),
        )
        free, slow = (replay(log, over(FAR, record_seconds=seconds)).end for seconds in (0.0, 10.0))
        assert slow == pytest.approx(free + 10.0)

    def test_both_parties_work_at_the_same_time(self):
        """The provider takes the first piece while the client makes the second."""
        log = log_of(
            step(CLIENT, seconds=1, sends=[(m.RowBatch, 100)]),
            step(CLIENT, seconds=1, sends=[(m.RowBatch, 100)]),
            step(PROVIDER, takes=m.RowBatch, seconds=1),
            step(PROVIDER, takes=m.RowBatch, seconds=1, sends=[(m.ResultChunk, 100)]),
            step(CLIENT, takes=m.ResultChunk, seconds=1),
        )
        timeline = replay(log, over(NEAR))
        second, first = works(timeline, CLIENT)[1], works(timeline, PROVIDER)[0]
        assert max(second.at, first.at) < min(second.at + 1, first.at + 1)
        assert timeline.end < in_turn(log).end

    def test_a_party_that_is_busy_lets_messages_wait(self):
        log = log_of(
            step(CLIENT, sends=[(m.KeyChunk, 100), (m.RowBatch, 100)]),
            step(PROVIDER, takes=m.KeyChunk, seconds=3),
            step(PROVIDER, takes=m.RowBatch, seconds=1),
        )
        timeline = replay(log, over(NEAR))
        first, second = works(timeline, PROVIDER)
        assert second.at == first.at + first.seconds
        assert [travel.received for travel in timeline.travels] == [first.at, second.at]

    def test_messages_of_one_step_leave_together_and_arrive_in_order(self):
        log = log_of(step(CLIENT, seconds=1, sends=[(m.KeyChunk, 50_000), (m.RowBatch, 1), (m.Finish, 1)]))
        travels = replay(log, over(ROUGH)).travels
        assert len({travel.sent for travel in travels}) == 1
        arrivals = [travel.received for travel in travels]
        assert arrivals == sorted(arrivals)

    def test_the_two_directions_have_their_own_bandwidth(self):
        def took(network):
            asked, answered = replay(question(size=100_000), over(network)).travels
            return asked.received - asked.sent, answered.received - answered.sent

        slow_up = took(NEAR.model_copy(update={"up_mbit": 1.0}))
        slow_down = took(NEAR.model_copy(update={"down_mbit": 1.0}))
        assert slow_up[0] > 0.8
        assert slow_up[1] < 0.1
        assert slow_down[0] < 0.1
        assert slow_down[1] > 0.8

    @pytest.mark.parametrize("factor", [0.0, 0.25, 1.0, 3.0])
    def test_a_factor_scales_the_compute_of_its_party_alone(self, factor):
        plain = replay(question(), over(NEAR))
        client = replay(question(), over(NEAR, client_factor=factor))
        provider = replay(question(), over(NEAR, provider_factor=factor))
        for timeline, scaled, other in ((client, CLIENT, PROVIDER), (provider, PROVIDER, CLIENT)):
            seconds = [work.seconds for work in works(plain, scaled, idle=True)]
            assert [work.seconds for work in works(timeline, scaled, idle=True)] == [s * factor for s in seconds]
            assert [w.seconds for w in works(timeline, other)] == [w.seconds for w in works(plain, other)]
        assert client.end - plain.end == pytest.approx(1.5 * (factor - 1))
        assert provider.end - plain.end == pytest.approx(2.0 * (factor - 1))

    def test_what_is_asked_of_is_not_changed(self):
        log = question()
        before = replay(log, over(FAR))
        replay(log, over(THIN, client_factor=9))
        assert replay(log, over(FAR)) == before


class TestConnecting:
    def test_the_client_connects_once_before_its_first_message_leaves(self):
        log = log_of(
            step(CLIENT, seconds=2, phase="solve"),
            step(CLIENT, seconds=1, sends=[(m.RowBatch, 10)]),
            step(CLIENT, seconds=1, sends=[(m.RowBatch, 10)]),
        )
        timeline = replay(log, over(FAR))
        begun, seconds = timeline.connecting
        first, second = timeline.travels
        assert begun == 3.0
        assert first.sent == begun + seconds
        assert second.sent == pytest.approx(first.sent + 1)

    def test_it_takes_more_round_trips_than_a_message(self):
        near, far = (replay(question(), over(network)).connecting[1] for network in (NEAR, FAR))
        assert near > 0
        assert far - near >= 2 * 0.099

    def test_bandwidth_hardly_matters_to_it(self):
        thin, near = (replay(question(), over(network)).connecting[1] for network in (THIN, NEAR))
        assert thin == pytest.approx(near, abs=0.5)

    def test_who_sends_nothing_does_not_connect(self):
        timeline = replay(log_of(step(CLIENT, seconds=1)), over(FAR))
        assert timeline.connecting == (0.0, 0.0)
        assert timeline.end == 1.0

    def test_a_job_without_steps_takes_no_time(self):
        assert replay(StepLog(), over(FAR)) == in_turn(StepLog()) == Timeline()


KINDS = {
    CLIENT: (m.KeyChunk, m.RowBatch, m.Query, m.Confirm),
    PROVIDER: (m.UploadAck, m.PoolChunk, m.Answer, m.Confirm),
}
#: What a party does: who, seconds, and the kinds and sizes of what it sends.
deeds = st.tuples(
    st.sampled_from([CLIENT, PROVIDER]),
    st.floats(0, 0.5),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200_000)), max_size=3),
)
talks = st.lists(deeds, max_size=12)
networks = st.builds(
    Network,
    name=st.just("any"),
    round_trip_ms=st.floats(0, 500),
    jitter_ms=st.sampled_from([0.0, 5.0]),
    up_mbit=st.floats(0.5, 1000),
    down_mbit=st.floats(0.5, 1000),
    loss=st.sampled_from([0.0, 0.01]),
)
conditions = st.builds(
    Conditions,
    network=networks,
    seed=st.integers(0, 99),
    client_factor=st.floats(0, 4),
    provider_factor=st.floats(0, 4),
)


class Conversation:
    """Both parties of a made-up session, as a meter on a clock of its own hears them."""

    def __init__(self, talk):
        self.log, self._now = StepLog(), 0.0
        meter = Meter(CLIENT, lambda: self._now, listener=self.log.hear)
        meter.count_connection()
        self._meter = meter
        self._observers = {side: meter.observer(side) for side in (CLIENT, PROVIDER)}
        self._waiting = {CLIENT: [], PROVIDER: []}
        self._step(CLIENT, 0.1, [(0, 50)])
        for side, seconds, sends in talk:
            # A provider that was told nothing has nothing to say.
            if side == CLIENT or self._waiting[side]:
                self._step(side, seconds, sends)
        self._drain()
        # As in every session, both confirm, and the client is the last to compute.
        self._step(CLIENT, 0.01, [(3, 34)])
        self._step(PROVIDER, 0.01, [(3, 34)])
        self._drain()
        self.counted = meter.stats()

    def _drain(self):
        while self._waiting[CLIENT] or self._waiting[PROVIDER]:
            self._step(CLIENT if self._waiting[CLIENT] else PROVIDER, 0.01, [])

    def _step(self, side, seconds, sends):
        other = PROVIDER if side == CLIENT else CLIENT
        with self._meter.timed(side):
            if self._waiting[side]:
                event = self._waiting[side].pop(0)
                self._observers[side](event._replace(direction=RECEIVE))
            for number, size in sends:
                self._now += seconds / (len(sends) + 1)
                event = Event(SEND, KINDS[side][number], size)
                self._waiting[other].append(event)
                self._observers[side](event)
            self._now += seconds / (len(sends) + 1)


conversations = talks.map(Conversation)


@patient
@given(conversations, conditions)
def test_a_party_does_one_thing_at_a_time(talk, chosen):
    timeline = replay(talk.log, chosen)
    for side in (CLIENT, PROVIDER):
        for before, after in pairwise(works(timeline, side, idle=True)):
            assert before.at + before.seconds <= after.at


@patient
@given(conversations, conditions)
def test_a_message_is_taken_at_the_begin_of_a_step_and_not_before_it_can_have_arrived(talk, chosen):
    timeline = replay(talk.log, chosen)
    for travel in timeline.travels:
        assert travel.received > travel.sent + chosen.network.round_trip_ms / 2000
    for side in (CLIENT, PROVIDER):
        begun = iter(works(timeline, side, idle=True))
        arrivals = iter(travel.received for travel in timeline.travels if travel.up == (side == PROVIDER))
        for taken in talk.log.steps[side]:
            first, *_ = [next(begun) for _ in taken.spent]
            if taken.received is not None:
                assert first.at == next(arrivals)


@patient
@given(conversations, conditions)
def test_every_message_and_all_work_is_in_the_timeline(talk, chosen):
    here, there = in_turn(talk.log), replay(talk.log, chosen)
    for up in (True, False):
        sent = [[travel.event for travel in timeline.travels if travel.up == up] for timeline in (here, there)]
        assert sent[0] == sent[1]
    for side in (CLIENT, PROVIDER):
        phases = [[work.phase for work in works(timeline, side, idle=True)] for timeline in (here, there)]
        assert phases[0] == phases[1]


@patient
@given(conversations, conditions)
def test_figures_and_timeline_agree(talk, chosen):
    timeline = replay(talk.log, chosen)
    stats = timeline.stats(talk.counted)
    computing = sum(work.seconds for work in works(timeline, CLIENT))
    assert stats.total_seconds == pytest.approx(timeline.end)
    assert sum(phase.elapsed_seconds for phase in stats.phases.values()) == pytest.approx(timeline.end)
    assert stats.client_seconds == pytest.approx(computing)
    waiting = stats.total_seconds - stats.client_seconds
    assert -1e-9 <= stats.network_seconds <= waiting + 1e-9
    for phase in stats.phases.values():
        assert phase.network_seconds >= -1e-9
        assert phase.elapsed_seconds >= phase.client_seconds + phase.network_seconds - 1e-9


@patient
@given(conversations, conditions)
def test_a_network_changes_times_and_nothing_that_was_counted(talk, chosen):
    counted, stats = talk.counted, replay(talk.log, chosen).stats(talk.counted)
    assert stats.messages == counted.messages
    assert list(stats.phases) == list(counted.phases)
    for name, phase in stats.phases.items():
        assert {figure: getattr(phase, figure) for figure in COUNTED} == {
            figure: getattr(counted.phases[name], figure) for figure in COUNTED
        }
        assert phase.client_seconds == pytest.approx(counted.phases[name].client_seconds * chosen.client_factor)
        assert phase.provider_seconds == pytest.approx(counted.phases[name].provider_seconds * chosen.provider_factor)


@patient
@given(conversations)
def test_in_turn_the_sums_are_those_of_the_meter(talk):
    timeline = in_turn(talk.log)
    assert timeline.end == pytest.approx(talk.counted.total_seconds)
    for side, total in ((CLIENT, talk.counted.client_seconds), (PROVIDER, talk.counted.provider_seconds)):
        assert sum(work.seconds for work in works(timeline, side)) == pytest.approx(total)
    up = sum(travel.event.size for travel in timeline.travels if travel.up)
    assert up == talk.counted.bytes_up
    assert all(travel.received >= travel.sent for travel in timeline.travels)


@patient
@given(conversations, conditions)
def test_the_order_in_which_parties_were_heard_does_not_matter(talk, chosen):
    """Over a network a party depends on messages alone, not on who was first in one process."""
    apart = [StepLog(), StepLog()]
    for log, sides in zip(apart, ((CLIENT, PROVIDER), (PROVIDER, CLIENT)), strict=True):
        for side in sides:
            log.steps[side] = talk.log.steps[side]
            log.order += [(side, taken) for taken in talk.log.steps[side]]
    assert replay(apart[0], chosen) == replay(apart[1], chosen) == replay(talk.log, chosen)


@patient
@given(conversations, conditions)
def test_the_same_conditions_give_the_same_times_to_the_last_bit(talk, chosen):
    assert replay(talk.log, chosen) == replay(talk.log, replace(chosen))


@patient
@given(conversations, networks, st.floats(0, 4), st.floats(0, 4))
def test_a_faster_machine_never_makes_a_session_longer_where_there_is_no_luck(talk, network, one, other):
    still = network.model_copy(update={"jitter_ms": 0.0, "loss": 0.0, "up_mbit": 1e6, "down_mbit": 1e6})
    fast, slow = sorted((one, other))
    ends = [replay(talk.log, over(still, provider_factor=factor)).end for factor in (fast, slow)]
    assert ends[0] <= ends[1] + 1e-9


def test_other_seeds_are_other_luck():
    log = question(size=50_000)
    assert len({replay(log, over(ROUGH, seed=seed)).end for seed in range(10)}) > 1
    assert len({replay(log, over(FAR, seed=seed)).end for seed in range(10)}) == 1


class TestFigures:
    """What the client waits for, by hand."""

    COUNTED = RunStats({name: PhaseStats() for name in ("handshake", "online", "offline")})

    def stats(self, *, works, travels, end):
        return Timeline(works=works, travels=travels, end=end).stats(self.COUNTED)

    def test_waiting_is_the_networks_unless_the_provider_computes(self):
        stats = self.stats(
            works=[Work(CLIENT, "online", 0, 1), Work(PROVIDER, "online", 2, 3), Work(CLIENT, "online", 6, 1)],
            travels=[Travel(Event(SEND, m.Query, 1), True, 1, 2), Travel(Event(SEND, m.Answer, 1), False, 5, 6)],
            end=7,
        )
        online = stats.phases["online"]
        assert (online.client_seconds, online.provider_seconds, online.network_seconds) == (2, 3, 2)
        assert online.total_seconds == stats.total_seconds == 7

    def test_a_provider_that_computes_while_the_client_does_is_not_waited_for(self):
        stats = self.stats(
            works=[
                Work(CLIENT, "online", 0, 4),
                Work(PROVIDER, "offline", 1, 2),
                Work(PROVIDER, "offline", 3, 2),
                Work(CLIENT, "online", 6, 1),
            ],
            travels=[Travel(Event(SEND, m.Query, 1), True, 0.5, 1), Travel(Event(SEND, m.Answer, 1), False, 5, 6)],
            end=7,
        )
        online = stats.phases["online"]
        assert (online.network_seconds, online.total_seconds) == (1, 7)
        assert stats.phases["offline"].provider_seconds == 4
        assert stats.phases["offline"].total_seconds == 0

    def test_waiting_belongs_to_the_phase_of_the_last_message_that_the_client_saw(self):
        stats = self.stats(
            works=[Work(CLIENT, "offline", 0, 1), Work(CLIENT, "offline", 3, 1), Work(CLIENT, "online", 9, 1)],
            travels=[
                Travel(Event(SEND, m.Prepare, 1), True, 1, 2),
                Travel(Event(SEND, m.PoolChunk, 1), False, 2, 3),
                Travel(Event(SEND, m.Query, 1), True, 4, 5),
                Travel(Event(SEND, m.Answer, 1), False, 5, 9),
            ],
            end=10,
        )
        assert {name: phase.network_seconds for name, phase in stats.phases.items()} == {
            "handshake": 0,
            "offline": 2,
            "online": 5,
        }

    def test_what_is_waited_belongs_to_the_message_that_ends_it(self):
        """The client connects, and waits for the answer to the first thing it says."""
        timeline = replay(question(), over(FAR))
        asked, answered = timeline.travels
        travelling = asked.received - asked.sent + answered.received - answered.sent
        phase = timeline.stats(self.COUNTED).phases[answered.event.stage]
        assert phase.network_seconds == pytest.approx(timeline.connecting[1] + travelling)


Z_A, Z_B = dyadic("A", 60, 4), dyadic("B", 60, 5)
WEIGHT, BIAS, QUERIES = dyadic("weight", 4, 3), dyadic("bias", 1, 3)[0], dyadic("queries", 7, 4)


@pytest.fixture(scope="module", params=["plaintext", TOY_LWE], ids=["plaintext", "toy"])
def sessions(request):
    """Real sessions of both phases."""
    entropy = SeededEntropy(b"replay")
    training = align_in_process(Z_A, Z_B, suite=request.param, entropy=entropy).session
    inference = classify_in_process(WEIGHT, BIAS, QUERIES, suite=request.param, batch=2, entropy=entropy).session
    return {"training": training, "inference": inference}


@pytest.mark.parametrize("kind", ["training", "inference"])
class TestRealSessions:
    @pytest.mark.parametrize("name", built_in_networks())
    def test_over_every_network_the_same_is_said(self, sessions, kind, name):
        session, chosen = sessions[kind], over(built_in_networks()[name])
        stats, timeline = session.stats(chosen), timeline_of(session, chosen)
        assert stats.total_seconds == pytest.approx(timeline.end)
        assert stats.messages == session.counted.messages
        for figure in COUNTED:
            assert getattr(stats, figure) == getattr(session.counted, figure)
        assert stats.client_seconds == pytest.approx(session.counted.client_seconds)
        assert stats.provider_seconds == pytest.approx(session.counted.provider_seconds)
        assert stats.total_seconds > stats.rounds * chosen.network.round_trip_ms / 1000
        assert timeline_of(session, chosen) == timeline

    def test_without_conditions_it_is_as_it_was_here(self, sessions, kind):
        session = sessions[kind]
        assert session.stats(None) is session.counted
        assert timeline_of(session, None) == in_turn(session.log)
        assert timeline_of(session, None).end == pytest.approx(session.counted.total_seconds)

    def test_the_farther_the_longer(self, sessions, kind):
        names = ["loopback", "lan", "wan", "transatlantic", "satellite"]
        totals = [sessions[kind].stats(over(built_in_networks()[name])).total_seconds for name in names]
        assert totals == sorted(totals)
        assert totals[-1] > 10 * totals[1]

    def test_a_link_without_end_takes_what_the_parties_compute(self, sessions, kind):
        """All round trips away, a session is no shorter than the work of its slower party."""
        ideal = Network(name="ideal", round_trip_ms=0, up_mbit=1e6, down_mbit=1e6)
        stats = sessions[kind].stats(over(ideal))
        assert stats.total_seconds >= max(stats.client_seconds, stats.provider_seconds)

    def test_it_describes_itself_without_its_steps(self, sessions, kind):
        session = sessions[kind]
        assert session.kind == kind
        assert len(session.transcript) == 32
        assert "StepLog" not in repr(session)
        assert all(isinstance(fact, int) for fact in session.facts.values())


def test_a_session_that_says_more_takes_longer():
    queries = np.repeat(QUERIES, 3, axis=0)
    many = classify_in_process(WEIGHT, BIAS, queries, suite="plaintext", batch=1, verify_answers=False)
    few = classify_in_process(WEIGHT, BIAS, QUERIES, suite="plaintext", batch=1)
    wan = over(built_in_networks()["wan"], client_factor=0, provider_factor=0)
    assert many.session.stats(wan).rounds == few.session.stats(wan).rounds + 14
    assert many.session.stats(wan).total_seconds > few.session.stats(wan).total_seconds + 14 * 0.04
