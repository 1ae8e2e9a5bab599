"""securealign experiment generation."""

from __future__ import annotations

from typing import Annotated

import typer

from securealign.alignment.ridge import Penalty
from securealign.cli.options import AsJson
from securealign.commands import failures, progress
from securealign.errors import ConfigurationError
from securealign.lab.cli.experiment.options import ALL, Output, check_output, command_line, finish, names
from securealign.lab.experiments.embeddings import Embeddings
from securealign.lab.experiments.generation.figures import figures
from securealign.lab.experiments.generation.measure import measure
from securealign.lab.experiments.generation.section import summary
from securealign.lab.experiments.generation.setting import Setting
from securealign.lab.experiments.store import Store
from securealign.lab.generation.depths import DEPTHS, blocks_below

LanguageModels = Annotated[
    str,
    typer.Option(
        "--models",
        help="Causal language models, separated by commas: smollm2, gemma, folders, hub ids; 'all': those built in "
        "whose terms need no consent, or have it.",
    ),
]
Ridge = Annotated[str, typer.Option("--ridge", help="Penalty of the map: a number as in the paper, or 'auto'.")]
Pairs = Annotated[int, typer.Option("--pairs", min=100, help="Pairs of tokens that a map is fitted on.")]
TextTokens = Annotated[int, typer.Option("--max-tokens", min=8, help="Tokens of a passage that models read.")]


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


def generation(
    models: LanguageModels = ALL,
    data: Annotated[str, typer.Option("--data", help="Texts that passages are made of.")] = "brown",
    pairs: Pairs = 40_000,
    test: Annotated[int, typer.Option("--test", min=50, help="Positions that a map is scored on.")] = 3_000,
    sweep: Annotated[int, typer.Option("--sweep", min=50, help="Of these, positions for the other depths.")] = 500,
    depths: Annotated[str, typer.Option("--depths", help="Depths, separated by commas.")] = ",".join(DEPTHS),
    ridge: Ridge = "1e-4",
    exact: Annotated[bool, typer.Option("--exact", help="Fit on tokens that end at the same character only.")] = False,
    max_tokens: TextTokens = 128,
    samples: Annotated[int, typer.Option("--samples", min=0, max=12, help="Prompts that texts are written from.")] = 6,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Most tokens of a text.")] = 40,
    questions: Annotated[int, typer.Option("--questions", min=0, help="Multiple-choice questions; 0 for none.")] = 50,
    question_data: Annotated[
        str,
        typer.Option("--question-data", help="JSONL with question, choices and answer, or a data set with classes."),
    ] = "wordnet/nouns/test",
    encoder: Annotated[str, typer.Option("--encoder", help="Encoder that texts are compared by.")] = "minilm",
    stream_check: Annotated[
        int, typer.Option("--stream-check", min=0, help="Also measure the memory of a fit of so many pairs at d = 960.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draw of passages and questions.")] = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure text through another model's head: prediction, depths, texts and answers of all pairs of models."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        chosen = names(depths, "--depths")
        for depth in chosen:
            blocks_below(depth, 1)
        check_output(output)
        setting = Setting(
            models=names(models, "--models"),
            data=data,
            pairs=pairs,
            test=test,
            sweep=min(sweep, test),
            ridge=penalty(ridge),
            exact=exact,
            max_tokens=max_tokens,
            depths=chosen,
            samples=samples,
            max_new_tokens=max_new_tokens,
            questions=questions,
            question_data=question_data,
            encoder=encoder,
            seed=seed,
        )
        result = measure(
            setting,
            Store(),
            Embeddings(add_bar=bar),
            stream_pairs=stream_check,
            add_bar=bar,
            command=command_line(),
        )
        finish(result, figures, summary, output, as_json=as_json)
