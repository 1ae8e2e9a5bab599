"""Accuracy of providers' heads through the maps a client may fit on public texts: every pair of encoders, every task.

    python scripts/compare_maps.py --encoders glove,wordllama,minilm,paraphrase --output maps.json

Columns: own embeddings, the soft and the ridge map of `ClearFit`, and what they are judged against: ridge on
standardised rows with a penalty chosen on held-out rows, and ridge on raw rows under 1 % of the mean diagonal of the
Gram matrix. Embeddings come from the cache of `securealign experiment classification`, which makes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap, LinearHead
from securealign.alignment.clear import ClearFit
from securealign.alignment.scaling import Vector, deviations
from securealign.lab.experiments.corpora import Corpora, Embeddings, Vectors, labels_of
from securealign.lab.experiments.page import table
from securealign.lab.experiments.run import one_blas_thread
from securealign.lab.experiments.setting import PairsConfig

#: Penalties of the baseline, as shares of the mean diagonal of the Gram matrix.
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_HELD_OUT = 5
MAPS = ("soft", "ridge", "cross-validated", "raw auto")
BASELINE = "cross-validated"
_DRAWS = 4000

Row = dict[str, str | float]


class Ridge:
    """Ridge maps of one set of rows under any penalty: one decomposition serves all."""

    def __init__(self, rows_b: Vectors, rows_a: Vectors, scale: Vector) -> None:
        rows = rows_b / scale
        self.mean_b, self.mean_a, self.scale = rows.mean(axis=0), rows_a.mean(axis=0, dtype=np.float64), scale
        rows = rows - self.mean_b
        self.values, self.vectors = np.linalg.eigh(rows.T @ rows)
        self.projected = self.vectors.T @ (rows.T @ (rows_a - self.mean_a))

    def map(self, share: float) -> AlignmentMap:
        """Return the map under a share of the mean diagonal of the Gram matrix."""
        raised = self.values + share * self.values.mean()
        weight = self.vectors @ (self.projected / raised[:, None])
        return AlignmentMap(weight / self.scale[:, None], self.mean_a - self.mean_b @ weight, {"share": share})


def cross_validated(rows_b: Vectors, rows_a: Vectors) -> AlignmentMap:
    """Return the ridge map of standardised rows under the penalty that explains most of every fifth row."""
    scale, held = deviations(rows_b), np.arange(len(rows_b)) % _HELD_OUT == 0
    part = Ridge(rows_b[~held], rows_a[~held], scale)

    def missed(share: float) -> float:
        return float(np.sum((rows_a[held] - part.map(share).apply(rows_b[held])) ** 2))

    return Ridge(rows_b, rows_a, scale).map(min(SHARES, key=missed))


def fitted_maps(rows_b: Vectors, rows_a: Vectors) -> dict[str, AlignmentMap]:
    """Return the maps by name."""
    fit = ClearFit.of(rows_b, rows_a)
    return {
        "soft": fit.map("soft"),
        "ridge": fit.map("ridge"),
        "cross-validated": cross_validated(rows_b, rows_a),
        "raw auto": Ridge(rows_b, rows_a, np.ones(rows_b.shape[1])).map(0.01),
    }


def measure(setting: PairsConfig, inverse_penalties: Sequence[str]) -> list[Row]:
    """Return a row for each head, pair and task, with the accuracy by map."""
    heads: dict[tuple[str, str, str], LinearHead] = {}
    for encoder in setting.encoders:
        for task in setting.tasks:
            data, rows = setting.task(task).train, setting.train(encoder, task)
            for chosen in inverse_penalties:
                heads[encoder, task, chosen] = LinearHead.fit(
                    rows,
                    labels_of(data),
                    data.class_names,
                    inverse_penalty="auto" if chosen == "auto" else float(chosen),
                )
        _tell(f"heads of {encoder}")
    found: list[Row] = []
    for source, target in permutations(setting.encoders, 2):
        maps = fitted_maps(setting.public(source), setting.public(target))
        for task in setting.tasks:
            rows = setting.test(source, task)
            for chosen in inverse_penalties:
                head = heads[target, task, chosen]
                found.append(
                    {"source": source, "target": target, "task": task, "C": chosen,
                     "own": setting.accuracy(head, setting.test(target, task), task)}
                    | {name: setting.accuracy(head, fitted.apply(rows), task) for name, fitted in maps.items()}
                )  # fmt: skip
        _tell(f"{target} <- {source}")
    return found


def gains(rows: Sequence[Row], name: str) -> npt.NDArray[np.float64]:
    """Return points gained over the baseline, shape (pairs, tasks)."""
    pairs = list(dict.fromkeys((row["source"], row["target"]) for row in rows))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    gained = np.empty((len(pairs), len(tasks)))
    for row in rows:
        cell = pairs.index((row["source"], row["target"])), tasks.index(row["task"])
        gained[cell] = 100 * (float(row[name]) - float(row[BASELINE]))
    return gained


def interval(gained: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean gain: pairs and tasks are drawn with replacement, each on its own."""
    random, (pairs, tasks) = np.random.default_rng(0), gained.shape
    means = [
        gained[np.ix_(random.integers(pairs, size=pairs), random.integers(tasks, size=tasks))].mean()
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def report(rows: Sequence[Row]) -> str:
    """Return the tables as Markdown: gains over the baseline by head, and every cell."""
    parts = []
    for chosen in dict.fromkeys(row["C"] for row in rows):
        kept = [row for row in rows if row["C"] == chosen]
        tasks = list(dict.fromkeys(str(row["task"]) for row in kept))
        pairs = list(dict.fromkeys(f"{row['target']} <- {row['source']}" for row in kept))
        lines = []
        for name in (name for name in MAPS if name != BASELINE):
            gained = gains(kept, name)
            low, high = interval(gained)
            pair, task = np.unravel_index(gained.argmin(), gained.shape)
            by_task = [f"{value:+.1f}" for value in gained.mean(axis=0)]
            worst = f"{gained.min():+.1f} ({pairs[pair]}, {tasks[task]})"
            lines.append([name, f"{gained.mean():+.1f} ({low:+.1f} to {high:+.1f})", *by_task, worst])
        parts.append(f"Heads of C = {chosen}: points gained over a cross-validated ridge map, 95 % interval")
        parts.append(table(["map", "mean", *tasks, "worst cell"], lines))
        header = ["target <- source", "task", "own", *MAPS]
        cells = [
            [f"{row['target']} <- {row['source']}", str(row["task"]),
             *(f"{100 * float(row[name]):.1f}" for name in ("own", *MAPS))]
            for row in kept
        ]  # fmt: skip
        parts.append(table(header, cells, left=2))
    return "\n\n".join(parts)


def _tell(done: str) -> None:
    sys.stderr.write(f"{done}\n")


def refuse(description: str) -> NoReturn:
    """Refuse to embed what is missing."""
    raise SystemExit(f"Not in the cache: {description}. Run 'securealign experiment classification' first.")


@one_blas_thread()
def main() -> None:
    """Measure, print the tables and write all rows as JSON."""
    parser = argparse.ArgumentParser(description="Compare maps fitted on public texts.")
    parser.add_argument("--encoders", default="glove,wordllama,minilm,paraphrase,e5,mpnet")
    parser.add_argument("--data", default="20ng,r8,r52,movie,wordnet,spam")
    parser.add_argument("--heads", default="auto,0.01,1", help="inverse penalties of the heads, or auto")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--output", type=Path, default=Path("maps.json"))
    given = parser.parse_args()
    embeddings = Embeddings(max_tokens=given.max_tokens, add_bar=refuse)
    setting = PairsConfig(tuple(given.encoders.split(",")), tuple(given.data.split(",")), Corpora(), embeddings)
    rows = measure(setting, given.heads.split(","))
    given.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    sys.stdout.write(report(rows) + "\n")


if __name__ == "__main__":
    main()
