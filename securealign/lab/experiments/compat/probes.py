"""Accuracies on labelled tasks: of the provider's head on its own and on mapped embeddings, and of a client alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment import LinearHead
from securealign.alignment.scaling import deviations
from securealign.commands import counted
from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.experiments.compat.setting import ALONE, CompatConfig
from securealign.lab.experiments.corpora import AddBar, Task, Vectors, labels_of
from securealign.lab.experiments.run import Row, Store
from securealign.lab.experiments.setting import SHOT_WEIGHT, fit_head, fit_with_shots
from securealign.lab.measures.fits import explained

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]

#: Fewest test texts of a probe.
_FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Accuracies on one task. `kind`: a "task" that the map never saw, "labels" of the public file, or "clusters"."""

    name: str
    kind: str
    classes: int
    trained: int
    tests: int
    #: Of always naming the class that is commonest in training.
    chance: float
    #: The provider's head on the provider's embeddings.
    provider: float
    #: The provider's head through the map of public texts.
    mapped: float
    #: Test texts that only the provider's own embeddings get right, and only the mapped ones.
    lost: int
    gained: int
    #: Share of the test embeddings' variance that the map explains.
    r2: float
    #: As `mapped`, through the other kind of map.
    mapped_other: float | None = None
    #: The provider's head through the map of public texts and a few of the task; means over seeds.
    with_shots: float | None = None
    #: The client's head from all training texts, and from a few; means over seeds.
    client: float | None = None
    alone_64: float | None = None
    alone_128: float | None = None
    #: Test texts left out because the public file holds them, and whether it holds any text of the task.
    dropped: int = 0
    shares_texts: bool = False

    @property
    def loss(self) -> float:
        """Accuracy that the map costs."""
        return self.provider - self.mapped

    @property
    def kept(self) -> float:
        """Share of what the provider's head knows beyond chance that is left through the map."""
        known = self.provider - self.chance
        return (self.mapped - self.chance) / known if known > 0 else 0.0


def labelled_probes(setting: CompatConfig, store: Store, add_bar: AddBar) -> list[Probe]:
    """Return the built-in tasks as probes; none when a side cannot embed their texts."""
    if not setting.labelled:
        return []
    prepared = [_without_public(setting, setting.corpora.task(name)) for name in setting.probes]
    for side in (setting.client, setting.provider):  # one model in memory at a time
        for task, _ in prepared:
            side.of(task.train.texts, f"{task.name}, training")
            side.of(task.test.texts, f"{task.name}, test")
    probes = []
    for task, dropped in counted(prepared, add_bar("probes")):
        draws = {"shots": setting.shots, "seeds": setting.seeds, "shot_weight": SHOT_WEIGHT}
        key = {**setting.key, "task": task.digest, **draws}
        row = store.rows("compat-probe", key, partial(_task_row, setting, task))[0]
        shares = dropped > 0 or not set(setting.public.data.texts).isdisjoint(task.train.texts)
        probes.append(Probe(name=task.name, kind="task", **row, dropped=dropped, shares_texts=shares))
    return probes


def public_labels(setting: CompatConfig, store: Store) -> list[Probe]:
    """Return the probe that the labels of the public file make, on its held-out rows; none without usable labels."""
    data = setting.public.data
    if data.labels is None:
        return []
    labels = np.asarray(data.labels, dtype=np.intp)
    trained = set(labels[setting.fitted].tolist())
    tests = np.array([row for row in setting.held if labels[row] in trained], dtype=np.intp)
    if len(trained) < 2 or len(tests) < _FEWEST:
        return []
    key = {**setting.key, "labels": labels.tolist(), "seeds": setting.seeds}
    row = store.rows("compat-labels", key, lambda: [_public_row(setting, labels, tests)])[0]
    return [Probe(name="labels of the public file", kind="labels", **row)]


@dataclass(frozen=True)
class Parts:
    """Embeddings (n, d) of the texts a head is fitted on and judged by, on one side, with their labels."""

    train: Vectors
    train_labels: Sequence[int]
    test: Vectors
    test_labels: Sequence[int]
    class_names: tuple[str, ...]

    @cached_property
    def head(self) -> LinearHead:
        """The head from all training texts."""
        return fit_head(self.train, self.train_labels, self.class_names)

    def right(self, head: LinearHead, rows: FloatArray) -> BoolArray:
        """Return for each test text whether a head names its class, given the embedding (n, d)."""
        names = [self.class_names[label] for label in self.test_labels]
        return np.array([found == name for found, name in zip(head.predict(rows), names, strict=True)])

    def accuracy(self, chosen: Sequence[int] | None = None) -> float:
        """Return what a head of one's own from the chosen training texts reaches; that of one class names it."""
        part = self if chosen is None else replace(
            self, train=self.train[list(chosen)], train_labels=[self.train_labels[row] for row in chosen]
        )  # fmt: skip
        if len(set(part.train_labels)) < 2:
            return chance(part.train_labels, self.test_labels)
        return float(self.right(part.head, self.test).mean())


def compare(provider: Parts, mapped_test: FloatArray) -> Row:
    """Return the provider's head on its own and on mapped test embeddings (n, d_A), text by text."""
    head = provider.head
    own, mapped = provider.right(head, provider.test), provider.right(head, mapped_test)
    return {
        "classes": len(head.class_names),
        "trained": len(provider.train),
        "tests": len(own),
        "chance": chance(provider.train_labels, provider.test_labels),
        "provider": float(own.mean()),
        "mapped": float(mapped.mean()),
        "lost": int(np.sum(own & ~mapped)),
        "gained": int(np.sum(mapped & ~own)),
        "r2": explained(provider.test, mapped_test),
    }


def chance(train: Sequence[int], test: Sequence[int]) -> float:
    """Return the accuracy of always naming the class that is commonest in training."""
    commonest = Counter(train).most_common(1)[0][0]
    return float(np.mean(np.asarray(test) == commonest))


def _task_row(setting: CompatConfig, task: Task) -> list[Row]:
    client, provider = (
        Parts(
            side.of(task.train.texts, task.name), labels_of(task.train),
            side.of(task.test.texts, task.name), labels_of(task.test), task.train.class_names,
        )
        for side in (setting.client, setting.provider)
    )  # fmt: skip
    row = compare(provider, setting.map.apply(client.test))
    head = provider.head
    other = provider.right(head, setting.fit.map(setting.other_kind).apply(client.test))
    shots = []
    for chosen in _draws(setting, len(task.train), setting.shots):
        few = client.train[chosen], provider.train[chosen]
        fitted = fit_with_shots((setting.rows_b, setting.rows_a), few, setting.map_kind)
        shots.append(float(provider.right(head, fitted.apply(client.test)).mean()))
    return [row | {"with_shots": fmean(shots), "mapped_other": float(other.mean())} | _alone(setting, client)]


def _alone(setting: CompatConfig, client: Parts) -> Row:
    """Return what the client reaches without the provider."""
    few = {
        f"alone_{count}": fmean(client.accuracy(chosen) for chosen in _draws(setting, len(client.train), count))
        for count in ALONE
        if count <= len(client.train)
    }
    return {"client": client.accuracy(), **few}


def _draws(setting: CompatConfig, size: int, count: int) -> list[list[int]]:
    return [np.random.default_rng([seed, size]).permutation(size)[:count].tolist() for seed in range(setting.seeds)]


def _public_row(setting: CompatConfig, labels: IntArray, tests: IntArray) -> Row:
    fitted, names = setting.fitted, setting.public.data.class_names
    client, provider = (
        Parts(rows[fitted], labels[fitted].tolist(), rows[tests], labels[tests].tolist(), names)
        for rows in (setting.rows_b, setting.rows_a)
    )
    return compare(provider, setting.map_without_held.apply(client.test)) | _alone(setting, client)


def _without_public(setting: CompatConfig, task: Task) -> tuple[Task, int]:
    """Return a task without the test texts that the public file holds, and how many those were."""
    public = set(setting.public.data.texts)
    kept = [row for row, text in enumerate(task.test.texts) if text not in public]
    if len(kept) < _FEWEST:
        raise InputError(
            f"The public file holds the test texts of the probe {task.name!r}.",
            hint="Leave that probe out of --probes, or give public texts from another source.",
        )
    test: TextDataset = task.test.subset(kept)
    return Task(task.name, task.train, test), len(task.test) - len(kept)


def as_row(probe: Probe) -> Row:
    """Return a probe as JSON can hold it, with what follows from it."""
    return {**asdict(probe), "loss": probe.loss, "kept": probe.kept}


#: Public texts to fit on for each cluster, so that a cluster has more than a few texts.
_TEXTS_PER_CLUSTER = 16
_STARTS = 4


def cluster_probes(setting: CompatConfig, store: Store) -> list[Probe]:
    """Return a probe for each number of clusters that the public texts are enough for, in their domain without labels.

    Borders of clusters follow the provider's own embeddings, so its head separates them better than real classes, and
    their loss does not predict that of a task: docs/compat.md compares both.
    """
    wanted = [count for count in setting.clusters if count * _TEXTS_PER_CLUSTER <= len(setting.fitted)]
    probes = []
    for count in wanted:
        row = store.rows("compat-clusters", {**setting.key, "count": count}, partial(_row, setting, count))[0]
        probes.append(Probe(name=f"{count} clusters", kind="clusters", **row))
    return probes


def _row(setting: CompatConfig, count: int) -> list[Row]:
    from sklearn.cluster import KMeans

    fitted, held = setting.rows_a[setting.fitted], setting.rows_a[setting.held]
    # Standardised: some dimensions of language models are a hundred times as large as the rest and would decide alone.
    scale = deviations(fitted)
    means = KMeans(count, n_init=_STARTS, random_state=0).fit(fitted / scale)
    train, test = means.labels_, means.predict(np.asarray(held / scale))
    parts = Parts(fitted, train.tolist(), held, test.tolist(), tuple(f"cluster {n}" for n in range(count)))
    return [compare(parts, setting.map_without_held.apply(setting.rows_b[setting.held]))]
