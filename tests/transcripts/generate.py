"""Writes the transcripts of small sessions: `python -m transcripts.generate` in the folder above."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from support.pair import PLAINTEXT, TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.he.lwe.suite import LweSuite

FOLDER = Path(__file__).parent

SCENARIOS: dict[str, TrainingCase | InferenceCase] = {
    "training_plaintext": TrainingCase(suites=(PLAINTEXT,)),
    "training_toy": TrainingCase(suites=(TOY_LWE,)),
    "inference_plaintext": InferenceCase(suites=(PLAINTEXT,)),
    "inference_toy": InferenceCase(suites=(TOY_LWE,)),
    "inference_lwe_128": InferenceCase(suites=(LweSuite(),), slots=3),
}


def describe(pair: Pair[Any, Any]) -> list[dict[str, Any]]:
    """Return what travelled: receiver, type, length and SHA-256 of every frame."""
    return [
        {
            "to": "provider" if carried.to_provider else "client",
            "message": type(pair.codec.decode(carried.frame)).__name__,
            "bytes": len(carried.frame),
            "sha256": hashlib.sha256(carried.frame).hexdigest(),
        }
        for carried in pair.carried
    ]


def main() -> None:
    """Write one file for each scenario."""
    for name, case in SCENARIOS.items():
        pair = case.finished()
        pair.assert_done()
        (FOLDER / f"{name}.json").write_text(json.dumps(describe(pair), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
