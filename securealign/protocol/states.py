"""The protocol as data: which message may be sent or received in which state, and where it leads.

A pair that is not in a table is a protocol error. In `ABORTED` every message is ignored. The diagrams in the
documentation are drawn from these tables.
"""

from collections.abc import Mapping
from enum import Enum

from securealign.protocol import messages as m


class State(Enum):
    """Where a session stands."""

    START = "start"
    GREETED = "greeted"
    KEY = "key upload"
    ROWS = "row upload"
    RESULT = "result"
    READY = "ready"
    CONFIRMING = "confirming"
    DONE = "done"
    ABORTED = "aborted"


class Direction(Enum):
    """Who a message comes from, seen from the machine."""

    SEND = "send"
    RECEIVE = "receive"


Event = tuple[Direction, type]
Table = Mapping[State, Mapping[Event, State]]

_SEND, _RECEIVE = Direction.SEND, Direction.RECEIVE

#: Terminal states.
FINAL = frozenset({State.DONE, State.ABORTED})

TRAINING_CLIENT: Table = {
    State.START: {(_SEND, m.TrainingHello): State.GREETED},
    State.GREETED: {(_RECEIVE, m.TrainingAccept): State.KEY},
    State.KEY: {
        (_SEND, m.KeyChunk): State.KEY,
        (_RECEIVE, m.UploadAck): State.KEY,
        (_SEND, m.RowBatch): State.ROWS,
    },
    State.ROWS: {
        (_SEND, m.RowBatch): State.ROWS,
        (_RECEIVE, m.UploadAck): State.ROWS,
        (_SEND, m.Finish): State.RESULT,
    },
    State.RESULT: {
        (_RECEIVE, m.UploadAck): State.RESULT,
        (_RECEIVE, m.ResultChunk): State.RESULT,
        (_SEND, m.Confirm): State.CONFIRMING,
    },
    State.CONFIRMING: {(_RECEIVE, m.Confirm): State.DONE},
}

TRAINING_PROVIDER: Table = {
    State.START: {(_RECEIVE, m.TrainingHello): State.GREETED},
    State.GREETED: {(_SEND, m.TrainingAccept): State.KEY},
    State.KEY: {
        (_RECEIVE, m.KeyChunk): State.KEY,
        (_SEND, m.UploadAck): State.KEY,
        (_RECEIVE, m.RowBatch): State.ROWS,
    },
    State.ROWS: {
        (_RECEIVE, m.RowBatch): State.ROWS,
        (_SEND, m.UploadAck): State.ROWS,
        (_RECEIVE, m.Finish): State.RESULT,
    },
    State.RESULT: {
        (_SEND, m.ResultChunk): State.RESULT,
        (_RECEIVE, m.Confirm): State.CONFIRMING,
    },
    State.CONFIRMING: {(_SEND, m.Confirm): State.DONE},
}

INFERENCE_CLIENT: Table = {
    State.START: {(_SEND, m.InferenceHello): State.GREETED},
    State.GREETED: {(_RECEIVE, m.InferenceAccept): State.KEY},
    State.KEY: {
        (_SEND, m.KeyChunk): State.KEY,
        (_RECEIVE, m.UploadAck): State.KEY,
        (_SEND, m.Prepare): State.READY,
    },
    State.READY: {
        (_RECEIVE, m.UploadAck): State.READY,
        (_SEND, m.Prepare): State.READY,
        (_RECEIVE, m.PoolChunk): State.READY,
        (_SEND, m.ChoicesChunk): State.READY,
        (_RECEIVE, m.TablesChunk): State.READY,
        (_SEND, m.Query): State.READY,
        (_RECEIVE, m.Answer): State.READY,
        (_SEND, m.Confirm): State.CONFIRMING,
    },
    State.CONFIRMING: {(_RECEIVE, m.Confirm): State.DONE},
}

INFERENCE_PROVIDER: Table = {
    State.START: {(_RECEIVE, m.InferenceHello): State.GREETED},
    State.GREETED: {(_SEND, m.InferenceAccept): State.KEY},
    State.KEY: {
        (_RECEIVE, m.KeyChunk): State.KEY,
        (_SEND, m.UploadAck): State.KEY,
        (_RECEIVE, m.Prepare): State.READY,
    },
    State.READY: {
        (_RECEIVE, m.Prepare): State.READY,
        (_SEND, m.PoolChunk): State.READY,
        (_RECEIVE, m.ChoicesChunk): State.READY,
        (_SEND, m.TablesChunk): State.READY,
        (_RECEIVE, m.Query): State.READY,
        (_SEND, m.Answer): State.READY,
        (_RECEIVE, m.Confirm): State.CONFIRMING,
    },
    State.CONFIRMING: {(_SEND, m.Confirm): State.DONE},
}
