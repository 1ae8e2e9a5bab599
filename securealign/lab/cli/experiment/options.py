"""Options that experiments share, and the texts of options as what they mean."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from securealign.alignment.regression import MapKind
from securealign.alignment.ridge import Penalty
from securealign.errors import ConfigurationError
from securealign.lab.assets.causal import usable_causal_lms
from securealign.lab.assets.encoders import usable_encoders
from securealign.lab.assets.lookup import require_terms
from securealign.lab.experiments.corpora import PUBLIC, TASKS

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

#: Options of several experiments, by the name of their parameter.
SHARED: Mapping[str, Any] = {
    "encoders": Encoders,
    "data": Tasks,
    "public": PublicSets,
    "train": TrainTexts,
    "test": TestTexts,
    "public_texts": PublicTexts,
    "max_tokens": MaxTokens,
}

ALL = "all"
_EVERY = {"--encoders": usable_encoders, "--models": usable_causal_lms}
ALL_TASKS = ",".join(TASKS)
ALL_PUBLIC = ",".join(PUBLIC)
#: 48 tokens are enough to tell topics apart, in three quarters of the time of 64.
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


def floats(text: str, option: str) -> tuple[float, ...]:
    """Return the numbers of a list separated by commas; raises `typer.BadParameter` for what is none."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of numbers.", param_hint=option) from error


def penalty(text: str) -> Penalty:
    """Return a penalty; raises `ConfigurationError` for what is neither "auto" nor a number above 0."""
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigurationError(f"{text!r} is no ridge penalty.", hint="Use 'auto' or a number above zero.")
    return value


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
