"""Options that experiments share, and how all of them end."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from securealign.alignment.regression import MapKind
from securealign.commands import table_console
from securealign.errors import ConfigurationError
from securealign.harness.bench.drawing import load_figures
from securealign.lab.assets.causal import usable_causal_lms
from securealign.lab.assets.encoders import usable_encoders
from securealign.lab.assets.lookup import require_terms
from securealign.lab.experiments.corpora import PUBLIC, TASKS, Corpora
from securealign.lab.experiments.embeddings import AddBar, Embeddings
from securealign.lab.experiments.result import Draw, Result, write_result
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row

Encoders = Annotated[
    str,
    typer.Option(
        "--encoders",
        help="Encoders, separated by commas: built-in names, folders or hub ids; 'all': those built in whose "
        "terms need no consent, or have it.",
    ),
]
Tasks = Annotated[
    str,
    typer.Option("--data", help=f"Tasks, separated by commas: {', '.join(TASKS)}, or TRAIN.jsonl:TEST.jsonl."),
]
PublicSets = Annotated[str, typer.Option("--public", help="Public texts: data sets, separated by commas.")]
TrainTexts = Annotated[int, typer.Option("--train", min=16, help="Training texts of each task.")]
TestTexts = Annotated[int, typer.Option("--test", min=8, help="Test texts of each task.")]
PublicTexts = Annotated[int, typer.Option("--public-texts", min=16, help="Public texts.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=4, help="Tokens of a text that encoders read.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Repetitions with other draws.")]
Map = Annotated[
    MapKind, typer.Option("--map", help="Kind of map where one is used: soft, as a client has it by default, or ridge.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the result as JSON, CSV and figures."),
]

ALL = "all"
_EVERY = {"--encoders": usable_encoders, "--models": usable_causal_lms}
ALL_TASKS = ",".join(TASKS)
ALL_PUBLIC = ",".join(PUBLIC)
#: Enough to tell topics, at three quarters of what 64 cost.
TOKENS = 48


def names(text: str, option: str) -> tuple[str, ...]:
    """Return the names of a list separated by commas; raises `typer.BadParameter` for an empty one.

    "all" stands for all encoders, or language models, that are built in and may be used. Raises `AssetError` for a
    model whose terms are not accepted.
    """
    if text == ALL and option in _EVERY:
        return _EVERY[option]()
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise typer.BadParameter("Name at least one.", param_hint=option)
    if option in _EVERY:
        require_terms(found)
    return found


def at_least_two(found: Sequence[str], what: str) -> None:
    """Raise `ConfigurationError` unless there are two names or more."""
    if len(found) < 2:
        raise ConfigurationError(f"One of {what} is no pair.", hint="Name at least two, separated by a comma.")


def task_setting(
    encoders: str,
    data: str,
    public: str,
    max_tokens: int,
    output: Path | None,
    add_bar: AddBar,
    *,
    texts: Mapping[str, Any],
    **numbers: Any,  # noqa: ANN401 - fields of `Setting`
) -> Setting:
    """Return the setting that options describe, `texts` with the sizes of `Corpora`; raises for mistakes in them."""
    chosen = names(encoders, "--encoders")
    at_least_two(chosen, "encoders")
    check_output(output)
    return Setting(
        encoders=chosen,
        tasks=names(data, "--data"),
        corpora=Corpora(**texts, public_sets=names(public, "--public")),
        embeddings=Embeddings(max_tokens=max_tokens, add_bar=add_bar),
        **numbers,
    )


def command_line() -> str:
    """Return the command line as typed, without the folder and format of its output."""
    parts = iter(sys.argv[1:])
    kept = []
    for part in parts:
        if part in {"--output", "-o"}:
            next(parts, None)
        elif part != "--json" and not part.startswith("--output="):
            kept.append(part)
    return shlex.join(["securealign", *kept])


def check_output(output: Path | None) -> None:
    """Raise now what would lose the result later: no matplotlib, or a folder that cannot be made."""
    if output is not None:
        load_figures()
        output.mkdir(parents=True, exist_ok=True)


def finish(
    result: Result,
    draw: Draw,
    summary: Callable[[Result], tuple[str, list[Row]]],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write the files of a result and print it: as JSON, or a summary as a table."""
    files = write_result(result, output, draw) if output is not None else []
    if as_json:
        typer.echo(json.dumps(json.loads(result.as_json())))
        return
    title, rows = summary(result)
    console = table_console()
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for column in columns:
        numeric = any(isinstance(row.get(column), float | int) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_shown(row.get(column)) for column in columns))
    console.print(shown)
    for file in files:
        typer.echo(str(file), err=True)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)
