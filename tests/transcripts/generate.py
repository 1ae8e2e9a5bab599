"""The transcripts of small sessions under fixed randomness, and what changed of them.

`scripts/transcripts` writes them anew, `scripts/transcripts --check` explains how the bytes of this checkout differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.pair import LABELS, PLAINTEXT, TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.he.lwe.suite import LweSuite

FOLDER = Path(__file__).parent

SCENARIOS: dict[str, TrainingCase | InferenceCase] = {
    "training_plaintext": TrainingCase(suites=(PLAINTEXT,)),
    "training_toy": TrainingCase(suites=(TOY_LWE,)),
    "inference_plaintext": InferenceCase(suites=(PLAINTEXT,)),
    "labels_plaintext": InferenceCase(policy=LABELS),
    "inference_toy": InferenceCase(suites=(TOY_LWE,)),
    "inference_lwe_128": InferenceCase(suites=(LweSuite(),), slots=3),
}

Baseline = Mapping[str, Any]


def describe(pair: Pair[Any, Any]) -> Baseline:
    """Return the transcript's digest, and what travelled: receiver, type, length and SHA-256 of every frame."""
    messages = [
        {
            "to": "provider" if carried.to_provider else "client",
            "message": type(pair.codec.decode(carried.frame)).__name__,
            "bytes": len(carried.frame),
            "sha256": hashlib.sha256(carried.frame).hexdigest(),
        }
        for carried in pair.carried
    ]
    return {"transcript": pair.client.transcript_digest.hex(), "messages": messages}


def finished(name: str) -> Baseline:
    """Return what a scenario gives now."""
    pair = SCENARIOS[name].finished()
    pair.assert_done()
    return describe(pair)


def recorded(name: str) -> Baseline:
    """Return the baseline of a scenario."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def explain(before: Baseline, now: Baseline) -> list[str]:
    """Return what differs, one sentence each, the most telling first; nothing where nothing does."""
    if before == now:
        return []
    found = list(_structure(before["messages"], now["messages"])) or list(
        _contents(before["messages"], now["messages"])
    )
    if before["transcript"] != now["transcript"]:
        found.append(f"the transcript was {before['transcript'][:16]} and is {now['transcript'][:16]}")
    return found


def _structure(before: Sequence[Baseline], now: Sequence[Baseline]) -> Iterator[str]:
    """Yield the first message of another kind, and messages of other lengths."""
    for number, (old, new) in enumerate(zip_longest(before, now), start=1):
        if old is None or new is None or (old["to"], old["message"]) != (new["to"], new["message"]):
            yield f"message {number} was {_name(old)} and is {_name(new)}: the sequence of messages is another"
            return
        if old["bytes"] != new["bytes"]:
            yield f"message {number}, {_name(new)}, had {old['bytes']} bytes and has {new['bytes']}"


def _contents(before: Sequence[Baseline], now: Sequence[Baseline]) -> Iterator[str]:
    """Yield where contents of the same lengths begin to differ."""
    changed = [number for number, (old, new) in enumerate(zip(before, now, strict=True), 1) if old != new]
    if changed:
        yield f"message {changed[0]}, {_name(now[changed[0] - 1])}, holds other bytes of the same length"
    if changed[1:]:
        yield f"so do {len(changed) - 1} of the {len(now) - changed[0]} messages after it"


def _name(message: Baseline | None) -> str:
    return f"{message['message']} to the {message['to']}" if message is not None else "not there"


def main(arguments: Sequence[str]) -> int:
    """Write one file for each scenario, or explain what differs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/transcripts", description="Baselines of transcripts.")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail when a transcript differs")
    check = parser.parse_args(arguments).check
    differ = False
    for name in SCENARIOS:
        file, now = FOLDER / f"{name}.json", finished(name)
        differences = explain(recorded(name), now) if file.exists() else ["there was no baseline"]
        differ |= bool(differences)
        for difference in differences:
            print(f"{name}: {difference}")  # noqa: T201
        if differences and not check:
            file.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    if not differ:
        print(f"{len(SCENARIOS)} transcripts are what they were")  # noqa: T201
    return int(check and differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
