"""The run of an experiment: cells of work, each kept on disk, whose rows make the tables of a result.

A result is written as one JSON, one CSV for each table, and figures.

A package of an experiment has `measure` (what it measures), and in `values` what its page, the terminal and its
pictures show of a result; `templates/` has its section.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from securealign.cache import cache_root
from securealign.commands import counted
from securealign.errors import ErrorCode, FileError, InputError
from securealign.files import write_atomically
from securealign.harness.bench.drawing import picture
from securealign.lab.experiments.corpora import AddBar, no_bars

if TYPE_CHECKING:
    import polars as pl

#: Draws a result: names of pictures, and matplotlib's figures.
Draw = Callable[["Result"], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Tables of an experiment, by name, with the settings that they depend on; all of it JSON."""

    experiment: str
    settings: dict[str, Any]
    tables: dict[str, list[Row]] = field(repr=False)
    #: The command line that makes it.
    command: str = ""

    def table(self, name: str) -> list[Row]:
        """Return a table, empty where the run had none of it."""
        return self.tables.get(name, [])

    def frame(self, name: str) -> pl.DataFrame:
        """Return a table as a frame; a row that lacks a column has a null there."""
        return frame(self.table(name))

    @property
    def unrelated_only(self) -> bool:
        """Whether a table is empty because all pairs of encoders are unrelated."""
        return any(not self.table(row["table"]) for row in self.table("unrelated"))

    def as_json(self) -> str:
        """Return everything as JSON, one row on each line."""
        head = {key: value for key, value in asdict(self).items() if key != "tables"}
        tables = ",\n".join(
            f"  {json.dumps(name)}: [\n"
            + ",\n".join(f"    {json.dumps(row, allow_nan=False)}" for row in rows)
            + "\n  ]"
            for name, rows in self.tables.items()
        )
        start = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
        return f'{start},\n "tables": {{\n{tables}\n }}\n}}\n'


def write_result(result: Result, folder: Path, draw: Draw) -> list[Path]:
    """Write JSON, a CSV for each table, an SVG for each figure; return the files. Raises `DependencyError`."""
    start = folder / result.experiment
    pictures = {Path(f"{start}-{name}.svg"): figure for name, figure in draw(result).items()}
    files = {file: picture(figure, file) for file, figure in pictures.items()}
    tables = {name: frame(rows) for name, rows in result.tables.items() if rows}
    files |= {Path(f"{start}-{name}.csv"): table.write_csv().encode() for name, table in tables.items()}
    files[Path(f"{start}.json")] = result.as_json().encode()
    for file, data in files.items():
        write_atomically(file, data)
    return list(files)


def read_result(path: Path) -> Result:
    """Read the JSON of a result; raises `InputError` when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        result = Result(**content)
        if not isinstance(result.tables, dict) or not isinstance(result.experiment, str):
            raise TypeError
    except (OSError, ValueError, TypeError) as error:
        raise FileError(
            f"{path} does not hold the result of an experiment.",
            hint="Make it by 'securealign experiment ... --output FOLDER'.",
        ) from error
    return result


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame; a row that lacks a column has a null there."""
    import polars as pl

    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


#: One line of a table: names to strings, numbers, truth values or None.
Row = dict[str, Any]

#: Part of every key: a release that computes something else from the same inputs counts it up.
_EDITION = 2


class Store:
    """A folder of cells, each the rows that one piece of work gave, named by the SHA-256 of all that it depends on."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else cache_root() / "experiments"

    def rows(self, experiment: str, key: Mapping[str, Any], compute: Callable[[], Sequence[Row]]) -> list[Row]:
        """Return the rows kept under `key`, or compute and keep them.

        `key` holds JSON values and names everything that the rows depend on: fingerprints of encoders, digests of
        texts, numbers, seeds. A file that is damaged counts as missing.
        """
        content = {"edition": _EDITION, "experiment": experiment, **key}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        path = self._folder / experiment / f"{hashlib.sha256(canonical.encode()).hexdigest()}.json"
        known = _read(path)
        if known is not None:
            return known
        rows = list(compute())
        text = json.dumps({"key": content, "rows": rows}, allow_nan=False)
        # Not secret, but made of texts that may be: for the owner alone, as the embeddings are.
        write_atomically(path, text.encode(), mode=0o600)
        kept: list[Row] = json.loads(text)["rows"]
        return kept


def _read(path: Path) -> list[Row] | None:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None


#: The experiments, in the order in which the page shows them.
EXPERIMENTS = ("similarity", "classification", "ood", "tokenizers", "generation", "membership", "leakage")
#: The table of cells that have no rows, because the two encoders' embeddings do not belong together.
UNRELATED = "unrelated"


def part(experiment: str, name: str) -> Any:  # noqa: ANN401 - the parts differ
    """Return a function of an experiment's package: `measure`, `values`, `summary` or `figures`."""
    module = name if name == "measure" else "values"
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
