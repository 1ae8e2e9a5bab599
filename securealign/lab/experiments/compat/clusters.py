"""Probes without labels, in the domain of the public texts: clusters of the provider's embeddings as classes.

The borders of clusters follow the provider's own embeddings, so its head separates them better than real classes, and
their loss does not predict that of a task: docs/compat.md compares both.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from securealign.alignment.scaling import deviations
from securealign.lab.experiments.compat.probes import Parts, Probe, compare
from securealign.lab.experiments.compat.setting import CompatConfig
from securealign.lab.experiments.store import Row, Store

#: Public texts to fit on for each cluster, so that a cluster has more than a few texts.
_TEXTS_PER_CLUSTER = 16
_STARTS = 4


def cluster_probes(setting: CompatConfig, store: Store) -> list[Probe]:
    """Return a probe for each number of clusters that the public texts are enough for."""
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
