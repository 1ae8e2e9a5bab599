"""Leaked shares of embeddings by N / d_B, and texts found from mapped embeddings, for all pairs of encoders."""

from __future__ import annotations

from collections.abc import Sequence

from securealign.errors import ConfigurationError
from securealign.lab.experiments.embeddings import AddBar, no_bars
from securealign.lab.experiments.leakage.attacks import WORDS, Attacks
from securealign.lab.experiments.leakage.sweep import HELD_OUT, PENALTIES, PairSweep, Sweep
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row, Store
from securealign.lab.experiments.threads import one_blas_thread

NAME = "leakage"
_FEWEST_ROWS = 8


@one_blas_thread()
def measure(
    setting: Setting,
    store: Store,
    *,
    sizes: Sequence[int] = (250, 500, 1000, 2000),
    add_bar: AddBar = no_bars,
    command: str = "",
) -> Result:
    """Return what maps fitted on `sizes` public rows leak, and what mapped test texts of the setting's tasks do.

    Sizes beyond four fifths of the public texts are cut to that. Raises `ConfigurationError` for sizes below 8.
    """
    sizes = _possible(sizes, len(setting.corpora.public_texts))
    attacks = Attacks(setting, store)
    setting.prepare(train=False)
    tables: dict[str, list[Row]] = {"alignment": [], "penalty": [], "native": [], "mapped": []}
    report, count = add_bar("pairs of encoders"), len(setting.encoders)
    for done, source in enumerate(setting.encoders):
        for task in setting.tasks:
            tables["native"] += [{"target": source, "data": task, **row} for row in attacks.native(source, task)]
        sweep = Sweep(setting, source, sizes)
        others = [encoder for encoder in setting.encoders if encoder != source]
        for number, target in enumerate(others, start=done * (count - 1)):
            report(number, count * (count - 1))
            names, pair = {"source": source, "target": target}, PairSweep(setting, store, sweep, target)
            tables["alignment"] += [{**names, **row} for row in pair.alignment()]
            tables["penalty"] += [{**names, **row} for row in pair.penalty()]
            for task in setting.tasks:
                tables["mapped"] += [{**names, "data": task, **row} for row in attacks.mapped(pair, task)]
    report(count * (count - 1), count * (count - 1))
    settings = {
        "encoders": {name: setting.embeddings.dimension(name) for name in setting.encoders},
        "public": len(setting.corpora.public_texts), "public_sets": list(setting.corpora.public_sets),
        "sizes": list(sizes), "seeds": setting.seeds, "penalties": list(PENALTIES), "words": WORDS, "map": setting.map,
    }  # fmt: skip
    return Result(experiment=NAME, settings=settings, tables=tables, command=command)


def _possible(sizes: Sequence[int], texts: int) -> tuple[int, ...]:
    most = texts - int(HELD_OUT * texts)
    if not sizes or min(sizes) < _FEWEST_ROWS:
        raise ConfigurationError(
            f"Maps cannot be fitted on {min(sizes, default=0)} rows.", hint=f"Give numbers from {_FEWEST_ROWS} on."
        )
    return tuple(sorted({min(size, most) for size in sizes}))
