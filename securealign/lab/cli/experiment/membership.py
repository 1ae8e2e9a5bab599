"""securealign experiment membership."""

from __future__ import annotations

from typing import Annotated

import typer

from securealign.cli.options import AsJson, Integers, integers
from securealign.commands import failures, progress
from securealign.lab.cli.experiment.options import (
    ALL_PUBLIC,
    TOKENS,
    Encoders,
    MaxTokens,
    Output,
    PublicSets,
    Tasks,
    at_least_two,
    check_output,
    command_line,
    finish,
    names,
)
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.embeddings import Embeddings
from securealign.lab.experiments.membership.figures import figures
from securealign.lab.experiments.membership.measure import measure
from securealign.lab.experiments.membership.section import summary
from securealign.lab.experiments.membership.setting import Plan
from securealign.lab.experiments.store import Store

#: Drawn beyond what is needed, for texts that occur twice.
_SPARE = 64

Penalties = Annotated[
    str, typer.Option("--penalties", help="Ridge penalties as shares, separated by commas; sweeps share the first.")
]
Epsilons = Annotated[
    str, typer.Option("--epsilons", help="Epsilons of differential privacy, separated by commas; '' for none.")
]


def membership(
    encoders: Encoders = "mpnet,minilm",
    data: Tasks = "20ng",
    public: PublicSets = ALL_PUBLIC,
    rows: Annotated[str, Integers("--rows", "Public rows; sweeps share the first.")] = "2500,1000,500",
    shots: Annotated[str, Integers("--shots", "Texts of the provider in a map; sweeps share the first.")] = "128,32,64",
    penalties: Penalties = "0.01,0.001,0.1,1",
    epsilons: Epsilons = "10,1,0.1",
    maps: Annotated[int, typer.Option("--maps", min=8, help="Shadow maps of a setting.")] = 200,
    private_maps: Annotated[
        int, typer.Option("--private-maps", min=8, help="Shadow maps of a setting with differential privacy.")
    ] = 60,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Folds of shadow maps.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all draws.")] = 0,
    max_tokens: MaxTokens = TOKENS,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Attack maps: does a map tell which texts of the provider it was made from, and what does noise change."""
    row_counts, shot_counts = tuple(integers(rows, "--rows")), tuple(integers(shots, "--shots"))
    shares, budgets = _floats(penalties, "--penalties"), _floats(epsilons, "--epsilons")
    with failures(as_json=as_json), progress(enabled=True) as bar:
        chosen = names(encoders, "--encoders")
        at_least_two(chosen, "encoders")
        check_output(output)
        plan = Plan(
            rows=row_counts,
            shots=shot_counts,
            penalties=shares,
            epsilons=budgets,
            maps=maps,
            private_maps=private_maps,
            folds=folds,
            seed=seed,
        )
        corpora = Corpora(
            train=2 * max(shot_counts) + _SPARE,
            public=max(row_counts),
            public_sets=names(public, "--public"),
            seed=seed,
        )
        result = measure(
            corpora,
            Embeddings(max_tokens=max_tokens, add_bar=bar),
            Store(),
            encoders=chosen,
            data=names(data, "--data"),
            plan=plan,
            add_bar=bar,
            command=command_line(),
        )
        finish(result, figures, summary, output, as_json=as_json)


def _floats(text: str, option: str) -> tuple[float, ...]:
    """Return the numbers of a list separated by commas; raises `typer.BadParameter` for what is none."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of numbers.", param_hint=option) from error
