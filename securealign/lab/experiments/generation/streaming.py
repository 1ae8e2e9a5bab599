"""The memory of a fit on synthetic states, measured in a process of its own."""

import json
import subprocess
import sys
import time

import numpy as np

from securealign.harness.bench.processes import peak_memory
from securealign.lab.experiments.run import Row
from securealign.lab.generation.fitting import PAPER_RIDGE, PairAccumulator

#: Pairs of tokens that a batch of passages gives.
_BATCH_PAIRS = 1600


def stream(pairs: int, dimension: int) -> Row:
    """Fit a map between states of `dimension` from so many random pairs; return bytes at the peak and seconds."""
    random = np.random.default_rng(0)
    accumulator = PairAccumulator(dimension, dimension)
    started = time.perf_counter()
    for start in range(0, pairs, _BATCH_PAIRS):
        rows = min(_BATCH_PAIRS, pairs - start)
        source = random.standard_normal((rows, dimension), dtype=np.float32)
        accumulator.add(source, source + random.standard_normal((rows, dimension), dtype=np.float32))
    accumulator.solve(PAPER_RIDGE)
    return {
        "pairs": accumulator.count,
        "dimension": dimension,
        "seconds": time.perf_counter() - started,
        "peak_bytes": peak_memory(),
    }


def measure_stream(pairs: int, dimension: int) -> Row:
    """Return what `stream` finds in a fresh process, whose peak holds nothing but the fit and the interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(pairs), str(dimension)], check=True, capture_output=True, text=True
    )
    row: Row = json.loads(done.stdout)
    return row


if __name__ == "__main__":
    sys.stdout.write(json.dumps(stream(int(sys.argv[1]), int(sys.argv[2]))))
