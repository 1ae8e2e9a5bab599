"""Pairs and tasks where the map costs more than the paper's range, taken apart.

A second head is fitted on the mapped training texts. What it reaches, the mapped embeddings still tell; what the
provider's head loses against it, the map moved out of the head's sight.
"""

from __future__ import annotations

from securealign.alignment.clear import fit_map
from securealign.lab.experiments.classification.losses import losses, main_pairs_in
from securealign.lab.experiments.classification.paper import MAX_LOSS
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.setting import Setting, fit_head
from securealign.lab.experiments.store import Row, Store


def exception_rows(setting: Setting, store: Store, tables: dict[str, list[Row]]) -> list[Row]:
    """Return every pair and task that loses more than the paper's range.

    Those of main pairs hold what a head fitted anew reaches, the others None.
    """
    main, rows = set(main_pairs_in(tables)), []
    for found in losses(tables, setting.map):
        source, target, task = found["source"], found["target"], found["data"]
        if found["provider_own"] - found["mapped"] <= MAX_LOSS:
            continue

        def compute(source: str = source, target: str = target, task: str = task) -> list[Row]:
            return [{"refitted": _refitted(setting, source, target, task)}]

        if (source, target) in main:
            key = {**setting.task_key(task, source, target), "map": setting.map}
            rows.append({**found, **store.rows("classification-exceptions", key, compute)[0]})
        else:
            rows.append({**found, "refitted": None})
    return rows


def _refitted(setting: Setting, source: str, target: str, task: str) -> float:
    rows_b, rows_a = setting.train(source, task), setting.train(target, task)
    fitted = fit_map(rows_b, rows_a, "auto", kind=setting.map)
    data = setting.task(task).train
    head = fit_head(fitted.apply(rows_b), labels_of(data), data.class_names)
    return setting.accuracy(head, fitted.apply(setting.test(source, task)), task)
