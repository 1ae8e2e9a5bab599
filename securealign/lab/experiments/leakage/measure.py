"""Leaked shares of embeddings by N / d_B, and texts found from mapped embeddings, for all pairs of encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from securealign.errors import ConfigurationError
from securealign.lab.experiments.leakage.attacks import WORDS, Attacks
from securealign.lab.experiments.leakage.sweep import HELD_OUT, PENALTIES, PairSweep, Sweep
from securealign.lab.experiments.run import Cell, Run, one_blas_thread
from securealign.lab.experiments.setting import PairsConfig

_FEWEST_ROWS = 8


@one_blas_thread()
def measure(run: Run, config: PairsConfig, *, sizes: Sequence[int] = (250, 500, 1000, 2000)) -> dict[str, Any]:
    """Return what maps fitted on `sizes` public rows leak, and what mapped test texts of the config's tasks do.

    Sizes beyond four fifths of the public texts are cut to that. Raises `ConfigurationError` for sizes below 8.
    """
    sizes = _possible(sizes, len(config.corpora.public_texts))
    attacks = Attacks(config)
    config.prepare(train=False)
    run.measure(
        "pairs of encoders", [partial(_of_client, config, attacks, source, sizes) for source in config.encoders]
    )
    return {
        **config.facts(),
        "sizes": list(sizes),
        "seeds": config.seeds,
        "penalties": list(PENALTIES),
        "words": WORDS,
    }


def _of_client(config: PairsConfig, attacks: Attacks, source: str, sizes: tuple[int, ...]) -> Iterator[Cell]:
    """Yield the cells of one client's encoder: its own embeddings as a target, and all pairs with it as the source."""
    yield from attacks.native(source)
    sweep = Sweep(config, source, sizes)
    for target in config.encoders:
        if target != source:
            pair = PairSweep(config, sweep, target)
            yield from pair.cells()
            yield from attacks.mapped(pair)


def _possible(sizes: Sequence[int], texts: int) -> tuple[int, ...]:
    most = texts - int(HELD_OUT * texts)
    if not sizes or min(sizes) < _FEWEST_ROWS:
        raise ConfigurationError(
            f"Maps cannot be fitted on {min(sizes, default=0)} rows.", hint=f"Give numbers from {_FEWEST_ROWS} on."
        )
    return tuple(sorted({min(size, most) for size in sizes}))
