"""What the results say when they are held against each other: when an alignment fails, and what tells beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from securealign.lab.experiments.classification.tally import (
    all_losses,
    is_main,
    main_pairs,
    mapped_accuracies,
    own_accuracy,
)
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: Points, as shares, within which two accuracies on some hundred texts count as alike.
_ALIKE = 0.03


def findings(results: Mapping[str, Result]) -> str:
    """Return a section of findings, each with its numbers; empty without the classification experiment."""
    if "classification" not in results:
        return ""
    lines = [*_losses(results["classification"])]
    if "similarity" in results:
        lines += _likeness(results["classification"], results["similarity"])
    return "## When alignment fails\n\n" + "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, 0 where one does not vary."""
    ranks = np.vstack([_ranks(first), _ranks(second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = float(np.prod(np.linalg.norm(ranks, axis=1)))
    return float(ranks[0] @ ranks[1]) / norms if norms else 0.0


def _ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)[:, None]
    below, equal = (column > column.T).sum(axis=1), (column == column.T).sum(axis=1)
    ranks: npt.NDArray[np.float64] = below + (equal - 1) / 2
    return ranks


def _losses(result: Result) -> Iterator[str]:
    rows = [row for row in all_losses(result) if is_main(result, row)]
    lost = [row["provider_own"] - row["mapped"] for row in rows]
    gap = rank_correlation(lost, [row["provider_own"] - row["client_own"] for row in rows])
    unexplained = rank_correlation(lost, [1 - row["r2"] for row in rows])
    alike = sum(abs(row["mapped"] - row["client_own"]) <= _ALIKE for row in rows)
    yield (
        "**When the client's encoder knows less of the task than the provider's.** With a map fitted on the task's "
        f"texts, the loss goes with how much less a head of the client's own reaches (rank correlation {gap:.2f} over "
        f"{len(rows)} combinations of a pair and a task), and with what the map leaves unexplained of the provider's "
        f"embeddings by {unexplained:.2f}. In {alike} of {len(rows)}, the mapped accuracy is within {100 * _ALIKE:.0f} "
        "points of the client's own: a map carries over what the client's encoder sees, and adds nothing."
    )
    tasks, pairs = list(result.settings["tasks"]), main_pairs(result)
    task, public = (_mean_loss(result, fitted_on, tasks, pairs) for fitted_on in ("task", "public"))
    by_task = {name: _mean_loss(result, "public", [name], pairs) for name in tasks}
    worst, best = max(by_task, key=lambda name: by_task[name]), min(by_task, key=lambda name: by_task[name])
    yield (
        f"**When the public texts are unlike the task's.** The same pairs lose {100 * task:.1f} points with maps "
        f"fitted on the task's texts and {100 * public:.1f} with maps fitted on public ones: "
        f"{100 * by_task[worst]:.1f} on {worst}, {100 * by_task[best]:.1f} on {best}."
    )


def _mean_loss(result: Result, fitted_on: str, tasks: Sequence[str], pairs: Sequence[tuple[str, str]]) -> float:
    own = own_accuracy(result)
    return fmean(
        own[pair[1], name] - fmean(mapped_accuracies(result, fitted_on, [name], [pair]))
        for name in tasks
        for pair in pairs
    )


def _likeness(result: Result, similarity: Result) -> Iterator[str]:
    known = {
        frozenset((row["encoder"], row["other"])): row for row in similarity.table("pairs") if row["corpus"] == "public"
    }
    own, tasks = own_accuracy(result), list(result.settings["tasks"])
    pairs = [pair for pair in main_pairs(result) if frozenset(pair) in known]
    if len(pairs) < 3:
        return
    lost = [_mean_loss(result, "public", tasks, [pair]) for pair in pairs]
    explained: dict[tuple[str, str], Row] = {(row["source"], row["target"]): row for row in result.table("pairs")}
    cka = rank_correlation(lost, [known[frozenset(pair)]["cka_debiased"] for pair in pairs])
    r2 = rank_correlation(lost, [explained[pair]["r2_unseen"] for pair in pairs])
    client = rank_correlation(lost, [fmean(own[pair[0], name] for name in tasks) for pair in pairs])
    yield (
        "**What tells it beforehand.** Over the pairs, the loss with maps fitted on public texts has a rank "
        f"correlation of {cka:+.2f} with their CKA on public texts (without bias), of {r2:+.2f} with the R² that "
        f"the client is told, and of {client:+.2f} with what the client's own heads reach. CKA does not know which "
        "side is the client's; the loss does."
    )
