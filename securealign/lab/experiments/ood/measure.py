"""AUROC and FPR@95 of all pairs of encoders, tasks and data sets out of distribution.

A higher score means that a text is more unlike the training data.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from securealign.alignment.clear import fit_map
from securealign.data import dataset_digest
from securealign.errors import ConfigurationError, InputError
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.run import Cell, Row, Run, one_blas_thread
from securealign.lab.experiments.setting import PairsConfig
from securealign.matrices import FloatMatrix

Scores = npt.NDArray[np.float64]


def energy_score(logits: npt.ArrayLike) -> Scores:
    """Return the energy -log sum_k exp of logits (n, K), shape (n,) (Liu et al. 2020, at temperature 1)."""
    scores: Scores = -logsumexp(np.asarray(logits, dtype=np.float64), axis=1)
    return scores


def msp_score(logits: npt.ArrayLike) -> Scores:
    """Return minus the largest softmax probability of logits (n, K), shape (n,) (Hendrycks and Gimpel 2017)."""
    scores: Scores = -softmax(np.asarray(logits, dtype=np.float64), axis=1).max(axis=1)
    return scores


def auroc(inside: npt.ArrayLike, outside: npt.ArrayLike) -> float:
    """Return how often an out-of-distribution score exceeds an in-distribution one, ties counting as half.

    0.5 is chance, and below it the score is the wrong way round. Raises `InputError` for no scores or NaN.
    """
    from sklearn.metrics import roc_auc_score

    parts = _checked(inside), _checked(outside)
    return float(roc_auc_score(np.repeat([0, 1], [len(part) for part in parts]), np.concatenate(parts)))


def auroc_error(area: float, inside: int, outside: int) -> float:
    """Return the standard error of an AUROC of `inside` and `outside` scores (Hanley and McNeil 1982)."""
    both_inside, both_outside = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (outside - 1) * (both_inside - area**2)
        + (inside - 1) * (both_outside - area**2)
    ) / (inside * outside)  # fmt: skip
    return float(np.sqrt(max(variance, 0.0)))


def fpr_at(inside: npt.ArrayLike, outside: npt.ArrayLike, accepted: float = 0.95) -> float:
    """Return the share of out-of-distribution texts that pass where the share `accepted` of in-distribution ones does.

    In-distribution is the positive class, as in Liu et al. 2020: the threshold is the lowest in-distribution score that
    at least this share of them does not exceed, and a score on the threshold passes. Lower is better. Raises
    `InputError` for no scores or NaN, or a share outside of ]0, 1].
    """
    if not 0 < accepted <= 1:
        raise InputError(f"{accepted} is no share of texts to accept.", hint="Use a number above 0 and up to 1.")
    reference, others = _checked(inside), _checked(outside)
    # The tolerance keeps 0.95 of 20 rows at 19, whatever the product rounds to.
    threshold = reference[int(np.ceil(accepted * len(reference) - 1e-9)) - 1]
    return float((others <= threshold).mean())


def _checked(scores: npt.ArrayLike) -> Scores:
    """Return scores in order."""
    values: Scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(values) or np.isnan(values[-1]):
        raise InputError("There are no scores, or some are NaN.", hint="Check the texts and the head.")
    return values


SCORES = {"energy": energy_score, "softmax": msp_score}
#: A data set that shares more of its texts with a task is not out of its distribution.
_MOST_SHARED = 0.5

#: Texts of every data set that is out of distribution, by its name.
Outside = Mapping[str, tuple[str, ...]]


@one_blas_thread()
def measure(run: Run, config: PairsConfig, outside: Sequence[str]) -> dict[str, Any]:
    """Return scores of all pairs and tasks against the texts of `outside`; raises `ConfigurationError` without any."""
    chosen = {task: _outside(config, task, outside) for task in config.tasks}
    config.prepare(others=outside)
    for task, others in chosen.items():
        run.tables["length"] += _lengths(config, task, others)
    own = [partial(_own, config, encoder, chosen) for encoder in config.encoders]
    run.measure("pairs of encoders", [*own, *(partial(_mapped, config, *pair, chosen) for pair in config.pairs)])
    return config.facts()


def _outside(config: PairsConfig, task: str, names: Sequence[str]) -> Outside:
    """Return the texts of other data sets that are not texts of the task, without those that are much the same."""
    own = {*config.task(task).train.texts, *config.task(task).test.texts}
    found = {}
    for name in names:
        texts = config.task(name).test.texts
        kept = tuple(text for text in texts if text not in own)
        if name != task and len(kept) > _MOST_SHARED * len(texts):
            found[name] = kept
    if not found:
        raise ConfigurationError(
            f"Nothing is out of the distribution of {task!r}.", hint="Name another data set by --ood."
        )
    return found


def _lengths(config: PairsConfig, task: str, outside: Outside) -> list[Row]:
    """Return how well the number of words alone tells data sets apart, whichever has the longer texts."""
    inside = _words(config.task(task).test.texts)
    areas = {name: auroc(inside, _words(texts)) for name, texts in outside.items()}
    return [
        {"data": task, "ood": name, "inside": len(inside), "texts": len(outside[name]), "auroc": max(area, 1 - area)}
        for name, area in areas.items()
    ]


def _words(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def _key(config: PairsConfig, task: str, outside: Outside, *encoders: str) -> dict[str, Any]:
    digests = {name: dataset_digest(texts).hex() for name, texts in outside.items()}
    return {**config.public_key(*encoders), "task": config.task(task).digest, "outside": digests}


def _own(config: PairsConfig, encoder: str, chosen: Mapping[str, Outside]) -> Iterator[Cell]:
    """Yield how heads judge their own encoder's embeddings."""

    def compute(task: str) -> list[Row]:
        head = config.head(encoder, task)
        outside = {name: head.logits(config.embeddings.of(encoder, texts)) for name, texts in chosen[task].items()}
        return judge(head.logits(config.test(encoder, task)), outside, _truth(config, task))

    for task, outside in chosen.items():
        names, key = {"target": encoder, "data": task}, _key(config, task, outside, encoder)
        yield Cell(table="own", names=names, key=key, compute=partial(compute, task))


def _mapped(config: PairsConfig, source: str, target: str, chosen: Mapping[str, Outside]) -> Iterator[Cell]:
    """Yield how the provider's heads judge mapped texts, for maps fitted on the task's texts and on public ones."""
    public = cache(lambda: config.public_fit(source, target).map(config.map))

    def compute(task: str) -> Iterator[Row]:
        head, inside = config.head(target, task), config.test(source, task)
        others = {name: config.embeddings.of(source, texts) for name, texts in chosen[task].items()}
        own = fit_map(config.train(source, task), config.train(target, task), "auto", kind=config.map)
        for fitted_on, fitted in {"task": own, "public": public()}.items():
            logits = {name: head.logits(fitted.apply(found)) for name, found in others.items()}
            for row in judge(head.logits(fitted.apply(inside)), logits, _truth(config, task)):
                yield {"fitted_on": fitted_on, **row}

    for task, outside in chosen.items():
        key = {**_key(config, task, outside, source, target), "map": config.map}
        names = {"source": source, "target": target, "data": task}
        yield Cell(table="mapped", names=names, key=key, compute=partial(compute, task))


def _truth(config: PairsConfig, task: str) -> npt.NDArray[np.int64]:
    return np.asarray(labels_of(config.task(task).test))


def judge(inside: FloatMatrix, outside: Mapping[str, FloatMatrix], truth: npt.NDArray[np.int64]) -> list[Row]:
    """Return AUROC and FPR@95 of each data set's logits (m, K) by score, and the accuracy on `inside` (n, K)."""
    accuracy = float(np.mean(inside.argmax(axis=1) == truth))
    rows: list[Row] = []
    for name, logits in outside.items():
        for score, function in SCORES.items():
            a, b = function(inside), function(logits)
            rows.append(
                {"ood": name, "score": score, "auroc": auroc(a, b), "fpr95": fpr_at(a, b), "accuracy": accuracy}
            )
    return rows
