"""How an experiment becomes a command: shared options and what their texts mean, its own, and how all of them end.

Two commands more run all experiments, and write the page that their results make.
"""

import inspect
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from securealign.alignment.regression import MapKind
from securealign.commands import AsJson, failures, progress, table_console
from securealign.errors import ConfigurationError
from securealign.files import write_atomically
from securealign.harness.bench.drawing import load_figures
from securealign.harness.cli.options import titled
from securealign.lab.assets.encoders import ENCODERS
from securealign.lab.assets.files import has_consent
from securealign.lab.assets.lookup import CAUSAL_LMS, require_terms
from securealign.lab.experiments.corpora import PUBLIC, TASKS, AddBar, Corpora, Embeddings
from securealign.lab.experiments.run import EXPERIMENTS, Result, Store, run_experiment, write_result
from securealign.lab.experiments.setting import PairsConfig

Encoders = Annotated[
    str,
    typer.Option(
        help="Encoders, separated by commas: built-in names, folders or hub ids; 'all': those built in whose "
        "terms need no consent, or have it."
    ),
]
Tasks = Annotated[str, typer.Option(help=f"Tasks, separated by commas: {', '.join(TASKS)}, or TRAIN.jsonl:TEST.jsonl.")]
PublicSets = Annotated[str, typer.Option(help="Public texts: data sets, separated by commas.")]
TrainTexts = Annotated[int, typer.Option(min=16, help="Training texts of each task.")]
TestTexts = Annotated[int, typer.Option(min=8, help="Test texts of each task.")]
PublicTexts = Annotated[int, typer.Option(min=16, help="Public texts.")]
MaxTokens = Annotated[int, typer.Option(min=4, help="Tokens of a text that encoders read.")]
Seeds = Annotated[int, typer.Option(min=1, help="Repetitions with other draws.")]
Map = Annotated[
    MapKind, typer.Option(help="Kind of map where one is used: soft, as a client has it by default, or ridge.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the result as JSON, CSV and figures.")]

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
_EVERY = {"--encoders": tuple(ENCODERS), "--models": CAUSAL_LMS}
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
        return tuple(name for name in _EVERY[option] if has_consent(name))
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


#: The sizes of `Corpora` that options give.
_SIZES = {"train": "train", "test": "test", "public_texts": "public"}


@dataclass(frozen=True)
class Job:
    """One run of a command: the experiment's name, the values of shared options, and how to show progress."""

    name: str
    shared: Mapping[str, Any]
    add_bar: AddBar

    def config(self, *, texts: Mapping[str, Any] | None = None, **numbers: Any) -> PairsConfig:  # noqa: ANN401
        """Return what the experiment runs on; `texts` has sizes of `Corpora`, `numbers` fields of the result."""
        chosen = names(self.shared["encoders"], "--encoders")
        at_least_two(chosen, "encoders")
        sizes: dict[str, Any] = {size: self.shared[option] for option, size in _SIZES.items() if option in self.shared}
        return PairsConfig(
            encoders=chosen,
            tasks=names(self.shared["data"], "--data"),
            corpora=Corpora(**sizes, **(texts or {}), public_sets=names(self.shared["public"], "--public")),
            embeddings=self.embeddings(max_tokens=self.shared["max_tokens"]),
            **numbers,
        )

    def embeddings(self, **options: Any) -> Embeddings:  # noqa: ANN401
        """Return the embeddings of texts."""
        return Embeddings(add_bar=self.add_bar, **options)

    def measure(self, what: Any, *more: Any, **options: Any) -> Result:  # noqa: ANN401
        """Run the experiment; what is done already is read from the store."""
        return run_experiment(self.name, what, Store(), *more, add_bar=self.add_bar, command=command_line(), **options)


def add_experiment(app: typer.Typer, experiment: Callable[..., Result], defaults: Mapping[str, Any]) -> None:
    """Add the command of an experiment: shared options with these defaults, its own, and where the result goes."""
    given = list(inspect.signature(experiment, eval_str=True).parameters.values())[1:]
    last = {"output": (Output, None), "as_json": (AsJson, False)}
    options = {**{name: (SHARED[name], value) for name, value in defaults.items()}, **last}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in given]

    def command(*, output: Path | None, as_json: bool, **values: Any) -> None:  # noqa: ANN401
        with failures(as_json=as_json), progress(enabled=True) as bar:
            if output is not None:
                # Now, or the result would be lost later: without matplotlib, or without a folder to write to.
                load_figures()
                output.mkdir(parents=True, exist_ok=True)
            job = Job(experiment.__name__, {name: values.pop(name) for name in defaults}, bar)
            finish(experiment(job, **values), output, as_json=as_json)

    command.__doc__ = experiment.__doc__
    signature = inspect.Signature([*shared[:-2], *own, *shared[-2:]])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    app.command(experiment.__name__)(command)


def finish(result: Result, output: Path | None, *, as_json: bool) -> None:
    """Write the files of a result and print it: as JSON, or a summary as a table."""
    from securealign.lab.experiments.page import figures, summary

    files = write_result(result, output, figures) if output is not None else []
    if as_json:
        typer.echo(json.dumps(json.loads(result.as_json())))
        return
    title, rows = summary(result)
    shown = titled(title)
    for name, kind in rows.schema.items():
        shown.add_column(name, justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in rows.rows():
        shown.add_row(*(_shown(value) for value in row))
    table_console().print(shown)
    for file in files:
        typer.echo(str(file), err=True)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


#: Experiments that take the choice of encoders and tasks; the others have some of their own.
_OF_ENCODERS = frozenset({"similarity", "classification", "leakage"})
#: Half a million pairs show that memory does not grow with them.
_MORE = {"generation": ["--stream-check", "500000"]}


def run_all(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")] = Path("results"),
    encoders: Encoders = ALL,
    data: Tasks = ALL_TASKS,
) -> None:
    """Run every experiment, one after the other; what is finished already costs next to nothing."""
    with failures(as_json=False):
        load_figures()
        output.mkdir(parents=True, exist_ok=True)
        for name in EXPERIMENTS:
            chosen = ["--encoders", encoders, "--data", data] if name in _OF_ENCODERS else []
            given = chosen if (encoders, data) != (ALL, ALL_TASKS) else []
            # A process of its own gives back the memory of its models.
            options = [*given, *_MORE.get(name, []), "--output", str(output)]
            command = [sys.executable, "-m", "securealign", "experiment", name, *options]
            done = subprocess.run(command, check=False)
            if done.returncode:
                raise typer.Exit(done.returncode)


def write_page(
    folder: Annotated[Path, typer.Argument(help="Folder with results.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page to write; results.md beside it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of the results in a folder, as Markdown."""
    from securealign.lab.experiments.page import page, read_results

    with failures(as_json=as_json):
        target = output or folder.resolve().parent / "results.md"
        results = read_results(folder)
        write_atomically(target, page(results).encode())
    found = {"file": str(target), "experiments": list(results)}
    typer.echo(json.dumps(found) if as_json else f"{target}: {', '.join(results)}")
