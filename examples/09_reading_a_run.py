"""Record a session, check the record against the protocol, and make a page of it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import trial

import securealign


def run(*command: str) -> str:
    """Return what a command of securealign prints."""
    whole = [sys.executable, "-m", "securealign", *command]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


with trial.start() as here:
    recorded = here.folder / "run.jsonl"
    with securealign.connect(here.config) as client:
        client.align(record=recorded)

    # A run file holds times, types, sizes and digests of messages, never what is in them.
    events = [json.loads(line) for line in recorded.read_text(encoding="utf-8").splitlines()]
    sizes: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["event"] == "message":
            sizes[event["direction"], event["type"]] += event["bytes"]
    for (direction, kind), size in sizes.items():
        print(f"{direction:5} {kind:15} {size:9,} bytes")

    print(run("replay", str(recorded)).replace(f"{recorded}: ", "").strip())
    page = Path(sys.argv[1] if len(sys.argv) > 1 else here.folder / "report.html")
    run("report", str(recorded), "-o", str(page))
    print(f"a page of {page.stat().st_size / 1e3:.0f} KB was made: name a file to keep it")
