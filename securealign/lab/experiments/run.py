"""How every experiment measures: cells of work in a row, each kept on disk, with progress, and tables of their rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securealign.commands import counted
from securealign.errors import ErrorCode, InputError
from securealign.lab.experiments.embeddings import AddBar
from securealign.lab.experiments.store import Row, Store

#: The table of cells that have no rows, because the two encoders' embeddings do not belong together.
UNRELATED = "unrelated"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One piece of work: rows of a table, computed unless the store keeps them.

    `key` names everything that the rows depend on; `names` are columns that are put before those of every row. Cells of
    an experiment whose keys could be equal have different names in the store (`kept`).
    """

    table: str
    names: Mapping[str, Any]
    key: Mapping[str, Any]
    compute: Callable[[], Iterable[Row]]
    kept: str | None = None


class Run:
    """Measures cells and collects their rows by table."""

    def __init__(self, experiment: str, store: Store, add_bar: AddBar, tables: Sequence[str]) -> None:
        self._experiment, self._store, self._add_bar = experiment, store, add_bar
        self.tables: dict[str, list[Row]] = {name: [] for name in tables}

    def measure(self, title: str, groups: Collection[Callable[[], Iterable[Cell]]]) -> None:
        """Measure the cells of each group, with a bar that counts groups; a group's cells share what they compute."""
        for group in counted(groups, self._add_bar(title)):
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

        kept = cell.table if cell.kept is None else cell.kept
        for row in self._store.rows(f"{self._experiment}-{kept}".rstrip("-"), cell.key, compute):
            if UNRELATED in row:
                self.tables.setdefault(UNRELATED, []).append({**cell.names, "table": cell.table, **row})
            else:
                self.tables[cell.table].append({**cell.names, **row})
