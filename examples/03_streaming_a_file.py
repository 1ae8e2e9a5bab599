"""Classify a file of any length in bounded memory, and write each result as soon as its answer arrives."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import trial

import securealign


def read_texts(file: Path) -> Iterator[str]:
    """Yield the texts of a JSONL file, one by one."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


with trial.start() as here, securealign.connect(here.config) as client:
    results = here.folder / "labels.jsonl"
    counts: Counter[str] = Counter()
    with results.open("w", encoding="utf-8") as output:
        # Texts are read a few hundred ahead. Predictions come in the order of the texts.
        for prediction in client.stream(read_texts(here.folder / "private.jsonl")):
            line = {"index": prediction.index, "label": prediction.label, "score": prediction.score}
            output.write(json.dumps(line) + "\n")
            counts[prediction.label] += 1

    print(f"{sum(counts.values())} results, {results.stat().st_size:,} bytes")
    for label, count in counts.most_common(4):
        print(f"{label:10} {count}")
