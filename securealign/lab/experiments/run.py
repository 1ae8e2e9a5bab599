"""The run of an experiment: cells of work, each kept on disk, whose rows make the tables of a result.

A package of an experiment has `measure` (what it measures), `values` and `summary` (what its page and the terminal say
of a result) and `figures`; `templates/` has its section.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from threadpoolctl import threadpool_limits

from securealign.commands import counted
from securealign.errors import ErrorCode, InputError
from securealign.lab.experiments.embeddings import AddBar, no_bars
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row, Store

#: The experiments, in the order in which the page shows them.
EXPERIMENTS = ("similarity", "classification", "ood", "tokenizers", "generation", "membership", "leakage")
#: The table of cells that have no rows, because the two encoders' embeddings do not belong together.
UNRELATED = "unrelated"


def part(experiment: str, name: str) -> Any:  # noqa: ANN401 - the parts differ
    """Return a function of an experiment's package: `measure`, `values`, `summary` or `figures`."""
    module = "values" if name == "summary" else name
    return getattr(import_module(f"securealign.lab.experiments.{experiment}.{module}"), name)


def run_experiment(
    experiment: str,
    what: Any,  # noqa: ANN401 - as the experiment's `measure` takes it
    store: Store,
    *more: Any,  # noqa: ANN401
    add_bar: AddBar = no_bars,
    command: str = "",
    **options: Any,  # noqa: ANN401
) -> Result:
    """Measure an experiment; cells that the store keeps are not computed again. Raises what `measure` raises."""
    run = Run(experiment, store, add_bar)
    settings = part(experiment, "measure")(run, what, *more, **options)
    return Result(experiment=experiment, settings=settings, tables=dict(run.tables), command=command)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One piece of work: rows of a table, computed unless the store keeps them.

    `key` names everything that the rows depend on; `names` are columns that are put before those of every row. The
    store keeps a cell under the name of the table, or under `kept` (empty for the experiment's name alone).
    """

    table: str
    names: Mapping[str, Any]
    key: Mapping[str, Any]
    compute: Callable[[], Iterable[Row]]
    kept: str | None = None


class Run:
    """Measures cells and collects their rows by table."""

    def __init__(self, experiment: str, store: Store, add_bar: AddBar) -> None:
        self._experiment, self._store, self.add_bar = experiment, store, add_bar
        self.tables: defaultdict[str, list[Row]] = defaultdict(list)

    def measure(self, title: str, groups: Collection[Callable[[], Iterable[Cell]]]) -> None:
        """Measure the cells of each group, with a bar that counts groups; a group's cells share what they compute."""
        for group in counted(groups, self.add_bar(title)):
            for cell in group():
                self.add(cell)

    def add(self, cell: Cell) -> None:
        """Measure one cell; a pair of encoders that is unrelated gets a row in the table `unrelated` instead."""

        def compute() -> list[Row]:
            try:
                return list(cell.compute())
            except InputError as error:
                if error.code is not ErrorCode.PAIRS_UNRELATED:
                    raise
                return [{UNRELATED: error.message}]

        table, kept = self.tables[cell.table], cell.table if cell.kept is None else cell.kept
        for row in self._store.rows(f"{self._experiment}-{kept}".rstrip("-"), cell.key, compute):
            if UNRELATED in row:
                self.tables[UNRELATED].append({**cell.names, "table": cell.table, **row})
            else:
                table.append({**cell.names, **row})


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep linear algebra to one thread; models are not affected.

    numpy and scipy bring a BLAS each. Many small products in turn leave the threads of one spinning on the cores that
    the other needs, which costs more than a second thread gains.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
