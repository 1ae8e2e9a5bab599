"""Run files as a recording would hold them: sessions over a simulated network, with figures like those of `lwe`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from pathlib import Path

WAN = {
    "name": "wan",
    "round_trip_ms": 40.0,
    "jitter_ms": 1.0,
    "up_mbit": 200.0,
    "down_mbit": 200.0,
    "loss": 0.0001,
    "source": "Figures of a made-up line between two cities, for tests.",
}
LAN = {
    **WAN,
    "name": "lan",
    "round_trip_ms": 0.5,
    "jitter_ms": 0.0,
    "up_mbit": 1000.0,
    "down_mbit": 1000.0,
    "loss": 0.0,
}
RESULTS = {"label_agreement": 1.0, "alignment_r2": 0.93, "map_error": 5e-4, "accuracy": 0.897, "accuracy_clear": 0.8975}
LWE = {
    "suite": "lwe",
    "parameter_set": "lwe-128",
    "classical_bits": 128,
    "quantum_bits": 0,
    "function_private": True,
}
CKKS = {
    "suite": "tenseal-ckks",
    "parameter_set": "ckks-8192",
    "classical_bits": 128,
    "quantum_bits": 128,
    "function_private": False,
}
PLAINTEXT = {
    "suite": "plaintext",
    "parameter_set": "plaintext",
    "classical_bits": 0,
    "quantum_bits": 0,
    "function_private": False,
}

_COSTS = (
    *("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"),
    *("client_seconds", "provider_seconds", "network_seconds", "total_seconds"),
)


class Recording:
    """Makes the events of a run on one clock; `side` leaves out what the other side alone knows."""

    def __init__(self, network=WAN, *, side="both", command="simulate", clock="simulated"):
        self.clock = 0.0
        self.network = network
        self.side = side
        self.events = [
            {
                "event": "run",
                "format": 1,
                "securealign": "0.1.0",
                "command": command,
                "side": side,
                "clock": clock,
                "started": None if clock == "simulated" else "2026-11-25T18:06:05Z",
                "network": network,
                "seed": 0,
                "client_factor": 1.0,
                "provider_factor": 1.0,
            }
        ]
        self._session = -1

    def begin(self, kind, suite=LWE, **facts):
        self._session += 1
        self._start = self.clock
        self._phases, self._types = {}, defaultdict(lambda: [0, 0, 0])
        self._client_spoke = False
        self._add("session", kind=kind, **suite, facts=facts)

    def connect(self, seconds=0.12):
        self._add("connect", t=self.clock, seconds=seconds)
        self.clock += seconds

    def compute(self, party, phase, seconds, at=None):
        start = self.clock if at is None else at
        self._costs(phase)[f"{party}_seconds"] += seconds
        if self.side in {"both", party}:
            self._add("compute", party=party, phase=phase, t=start, seconds=seconds)
        self.clock = max(self.clock, start + seconds)

    def message(self, direction, kind, phase, size, at=None):
        """Add a message and return when it is received; the clock does not move."""
        wire = size + 60 + 45 * (size // 1400 + 1)
        sent = self.clock if at is None else at
        delay = 0.0
        if self.network:
            delay = self.network["round_trip_ms"] / 2000 + wire * 8 / self.network[f"{direction}_mbit"] / 1e6
        sender, receiver = ("client", "provider") if direction == "up" else ("provider", "client")
        self._add(
            "message",
            direction=direction,
            type=kind,
            phase=phase,
            sent=sent if self.side in {"both", sender} else None,
            received=sent + delay if self.side in {"both", receiver} else None,
            bytes=size,
            wire_bytes=wire,
            sha256=hashlib.sha256(f"{kind} {sent}".encode()).hexdigest(),
        )
        costs = self._costs(phase)
        costs[f"bytes_{direction}"] += size
        costs[f"wire_{direction}"] += wire
        costs[f"messages_{direction}"] += 1
        if direction == "up":
            self._client_spoke = True
        elif kind != "UploadAck" and self._client_spoke:
            costs["rounds"] += 1
            self._client_spoke = False
        entry = self._types[kind, phase, direction]
        entry[0], entry[1], entry[2] = entry[0] + 1, entry[1] + size, entry[2] + wire
        return sent + delay

    def send(self, direction, kind, phase, size):
        """Add a message that the other side waits for."""
        start = self.clock
        self.clock = self.message(direction, kind, phase, size)
        self._costs(phase)["network_seconds"] += self.clock - start

    def upload(self, kind, phase, sizes, *, make, take, window=8):
        """Send pieces with at most `window` of them unacknowledged, while both sides compute."""
        line, provider, acknowledged = self.clock, self.clock, []
        start, busy = self.clock, 0.0
        for index, size in enumerate(sizes):
            ready = max(line, acknowledged[index - window] if index >= window else 0.0)
            self._add_compute("client", phase, ready, make)
            arrival = self.message("up", kind, phase, size, at=ready + make)
            line = ready + make + (size * 8 / self.network["up_mbit"] / 1e6 if self.network else 0.0)
            begin = max(arrival, provider)
            self._add_compute("provider", phase, begin, take)
            provider = begin + take
            busy += make + take
            acknowledged.append(self.message("down", "UploadAck", phase, 6, at=provider))
        self.clock = max(acknowledged)
        self._costs(phase)["network_seconds"] += max(0.0, self.clock - start - busy)

    def end(self, state="done", error=None):
        phases = {}
        for name, costs in self._phases.items():
            costs["total_seconds"] = costs["client_seconds"] + costs["provider_seconds"] + costs["network_seconds"]
            phases[name] = costs
        if "keys" in phases:  # in which the parties work at the same time
            taken = sum(costs["total_seconds"] for costs in phases.values())
            phases["keys"]["total_seconds"] += self.clock - self._start - taken
        totals = {name: sum(costs[name] for costs in phases.values()) for name in _COSTS}
        messages = [
            {"type": t, "phase": p, "direction": d, "count": count, "bytes": size, "wire_bytes": wire}
            for (t, p, d), (count, size, wire) in self._types.items()
        ]
        stats = {**totals, "phases": phases, "messages": messages}
        transcript = hashlib.sha256(b"transcript").hexdigest() if state == "done" else None
        self._add("end", t=self.clock, state=state, error=error, transcript=transcript, stats=stats)

    def result(self, **results):
        self.events.append({"event": "result", "results": results})

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(event) + "\n" for event in self.events), encoding="utf-8")
        return path

    def _add(self, event, **fields):
        self.events.append({"event": event, "session": self._session, **fields})

    def _add_compute(self, party, phase, at, seconds):
        self._costs(phase)[f"{party}_seconds"] += seconds
        if self.side in {"both", party}:
            self._add("compute", party=party, phase=phase, t=at, seconds=seconds)

    def _costs(self, phase):
        return self._phases.setdefault(phase, {name: 0.0 if name.endswith("seconds") else 0 for name in _COSTS})


def train(recording, suite=LWE, *, rows=2000, dim_a=384, dim_b=384, scale=1.0):
    """Add a training session; `scale` multiplies sizes and compute."""
    recording.begin("training", suite, rows=rows, dim_a=dim_a, dim_b=dim_b)
    recording.compute("client", "solve", 0.012)
    if recording.network:
        recording.connect()
    recording.send("up", "TrainingHello", "handshake", 142)
    recording.compute("provider", "handshake", 0.0006)
    recording.send("down", "TrainingAccept", "handshake", 118)
    recording.upload("KeyChunk", "keys", [int(1_025_000 * scale)] * 12, make=0.011 * scale, take=0.004 * scale)
    recording.upload("RowBatch", "upload", [int(962_500 * scale)] * 8, make=0.021 * scale, take=0.032 * scale)
    recording.send("up", "Finish", "result", 2)
    recording.compute("provider", "result", 0.22 * scale)
    arrival = [recording.message("down", "ResultChunk", "result", int(962_500 * scale)) for _ in range(8)]
    recording.clock = max(arrival)
    recording.compute("client", "result", 0.09 * scale)
    recording.send("up", "Confirm", "confirm", 34)
    recording.send("down", "Confirm", "confirm", 34)
    recording.compute("client", "solve", 0.034)
    recording.end()


def classify(recording, suite=LWE, *, queries=1000, dim_a=384, classes=10, pool_slots=64, scale=1.0, labels=False):
    """Add an inference session, with or without logits, that prepares a pool whenever the last one is used up."""
    recording.begin(
        "inference",
        suite,
        queries=queries,
        dim_a=dim_a,
        classes=classes,
        pool_slots=pool_slots,
        answer_bits=4 if labels else classes * 18,
    )
    if recording.network:
        recording.connect()
    recording.send("up", "InferenceHello", "handshake", 95)
    recording.send("down", "InferenceAccept", "handshake", 171)
    recording.upload("KeyChunk", "keys", [int(1_000_000 * scale)] * 2, make=0.012, take=0.004)
    for query in range(queries):
        if query % pool_slots == 0:
            recording.compute("client", "offline", 0.025)
            recording.send("up", "Prepare", "offline", 4)
            recording.compute("provider", "offline", 0.13)
            recording.send("down", "PoolChunk", "offline", int(136_000 * scale))
            if labels:
                recording.send("up", "ChoicesChunk", "offline", int(160_000 * scale))
                recording.send("down", "TablesChunk", "offline", int(700_000 * scale))
        recording.compute("client", "online", 0.00039)
        recording.send("up", "Query", "online", int(3_900 * scale))
        recording.compute("provider", "online", 0.00061 * scale)
        recording.send("down", "Answer", "online", int(120 * scale))
    recording.send("up", "Confirm", "confirm", 34)
    recording.send("down", "Confirm", "confirm", 34)
    recording.end()


def typical(path: Path, *, network=WAN, suite=LWE, queries=1000, scale=1.0, **options) -> Path:
    """Write a run that trains and classifies, as `securealign simulate --record` does."""
    recording = Recording(network, **options)
    train(recording, suite, scale=scale)
    classify(recording, suite, queries=queries, scale=scale)
    recording.result(**RESULTS)
    return recording.write(path)


def small(path: Path, *, suite=LWE, queries=5, **options) -> Path:
    """Write a run like `typical` with few queries."""
    return typical(path, suite=suite, queries=queries, **options)


@functools.cache
def events(path: Path) -> list:
    """Return the events of a run file, which does not change any more."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def figure(paths, name: str) -> str:
    """Return what a figure of a page is in its file: as JSON, or as it is when it is a text."""
    _, run, *path = name.split(".", 3)
    lines = events(paths[int(run)])
    first, rest = path[0], path[1] if len(path) > 1 else ""
    if first == "sessions":
        number, rest = rest.split(".", 1)
        start, end = (
            next(line for line in lines if line["event"] == event and line["session"] == int(number))
            for event in ("session", "end")
        )
        value = {**start, **end, "end": end}
    elif first == "results":
        value = lines[-1]["results"]
    else:
        value, rest = lines[0], ".".join(path)
    for key in rest.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value if isinstance(value, str) else json.dumps(value)
