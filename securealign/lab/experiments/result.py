"""What an experiment found, and its files: one JSON, one CSV for each table, and figures."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securealign.errors import ErrorCode, InputError
from securealign.files import write_atomically
from securealign.lab.experiments.store import Row

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
    """Write `<experiment>.json`, `<experiment>-<table>.csv` and `<experiment>-<figure>.svg`; return the files.

    Raises `DependencyError` without matplotlib, before anything is written.
    """
    files = {f"{result.experiment}-{name}.svg": _picture(figure) for name, figure in draw(result).items()}
    files |= {
        f"{result.experiment}-{name}.csv": frame(rows).write_csv().encode()
        for name, rows in result.tables.items()
        if rows
    }
    files[f"{result.experiment}.json"] = result.as_json().encode()
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def read_result(path: Path) -> Result:
    """Read the JSON of a result; raises `InputError` when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        result = Result(**content)
        if not isinstance(result.tables, dict) or not isinstance(result.experiment, str):
            raise TypeError
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} does not hold the result of an experiment.",
            hint="Make it by 'securealign experiment ... --output FOLDER'.",
            code=ErrorCode.FILE_INVALID,
        ) from error
    return result


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame; a row that lacks a column has a null there."""
    import polars as pl

    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


def _picture(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib has no types here
    import matplotlib as mpl

    picture = io.BytesIO()
    # Neither a date nor random names, so that the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "securealign", "svg.fonttype": "path"}):
        figure.savefig(picture, format="svg", facecolor="white", metadata={"Date": None})
    return picture.getvalue()
