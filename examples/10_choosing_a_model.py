"""Decide, before anybody is asked, which of two models is worth aligning with the provider's, if any."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import trial

from securealign.data import load_public


def compat(client: str, *options: str) -> dict[str, Any]:
    """Return what `securealign compat` finds of a client's model and the provider's, WordLlama."""
    texts, page = str(here.folder / "public.jsonl"), str(here.folder / "compat.html")
    command = [
        sys.executable,
        "-m",
        "securealign",
        "compat",
        client,
        "wordllama",
        texts,
        "-o",
        page,
        "--json",
        *options,
    ]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print the advice and what it rests on."""
    advice, likeness = found["recommendation"], found["likeness"]
    print(f"{name}: {advice['advice']}. {advice['reason']}")
    print(f"  relatedness {likeness['relatedness']:.0f}, of unseen texts explained {likeness['r2_unseen']:.0%}")
    for task in found["probes"] + found["clusters"]:
        print(f"  {task['name']:11} provider's own {task['provider']:.0%}, through the map {task['mapped']:.0%}")


with trial.start() as here:
    # An encoder by its name is tried on a task with labels; small numbers of texts make it fast.
    show("glove", compat("glove", "--probes", "r8", "--train", "200", "--test", "100", "--seeds", "1"))

    # Embeddings made elsewhere are a file. This model counts letters, and the page says what that is worth.
    public = load_public(str(here.folder / "public.jsonl")).texts
    letters = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in public]
    np.save(here.folder / "letters.npy", np.array(letters, dtype=np.float32))
    show("letters", compat(str(here.folder / "letters.npy")))
