"""The experiments' own options; `EXPERIMENTS` has the defaults of those that they share."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from securealign.commands import penalty
from securealign.data import load_dataset
from securealign.harness.cli.options import Integers, integers
from securealign.lab.cli.experiment import command
from securealign.lab.cli.experiment.command import Job
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.run import Result
from securealign.lab.generation.causal import DEPTHS, blocks_below

#: Tokenizers of encoders that are compared beside those of language models.
_ENCODERS = ("wordllama", "minilm", "mpnet", "e5")
#: Texts drawn beyond what membership inference needs, because some occur twice.
_SPARE = 64


def similarity(
    job: Job,
    components: Annotated[str, Integers("Principal components that SVCCA keeps.")] = "64,128",
    subsamples: Annotated[int, typer.Option(min=1, help="Splits of every corpus, drawn anew.")] = 3,
) -> Result:
    """Measure how alike encoders see the same texts: linear CKA and SVCCA, with shuffled controls."""
    counts = sorted(set(integers(components, "--components")))
    return job.measure(job.config(), components=counts, subsamples=subsamples)


def classification(
    job: Job,
    shots: Annotated[str, Integers("Labelled texts that are shared, to be compared.")] = "32,64,128",
    seeds: command.Seeds = 3,
    rivals: Annotated[
        str, typer.Option(help="Encoders whose pairs are also given other kinds of map; '' for none.")
    ] = "mpnet,minilm,e5,smollm2",
    encrypted: Annotated[
        str, typer.Option(help="CLIENT:PROVIDER, the pair to run under encryption too; '' for none.")
    ] = "mpnet:minilm",
    suite: Annotated[str, typer.Option(help="Suite of the pair under encryption.")] = "lwe",
    map: command.Map = "soft",  # noqa: A002 - what users call it
) -> Result:
    """Measure heads on mapped embeddings: all pairs, all tasks, maps from public texts and from the task's."""
    counts = tuple(integers(shots, "--shots"))
    config = job.config(shots=counts, seeds=seeds, rivals=tuple(rivals.split(",")), map=map)
    pair = tuple(encrypted.split(":"))
    wanted = pair if len(pair) == 2 and set(pair) <= set(config.encoders) else None
    return job.measure(config, encrypted_pair=wanted, suite=suite)


def ood(
    job: Job,
    outside: Annotated[
        str, typer.Option("--ood", help="Tasks whose test texts are out of distribution, separated by commas.")
    ] = "20ng,r8,movie,wordnet,spam",
    map: command.Map = "soft",  # noqa: A002
) -> Result:
    """Measure how well a head tells texts that are unlike its task, on its own and on mapped embeddings."""
    return job.measure(job.config(map=map), command.names(outside, "--ood"))


def tokenizers(
    job: Job,
    models: Annotated[
        str,
        typer.Option(
            help="Models, separated by commas: built-in names, folders, hub ids, tokenizer.json files; 'all': the "
            "language models and some encoders that are built in."
        ),
    ] = command.ALL,
    data: Annotated[str, typer.Option(help="Texts to tokenise: a data set or file.")] = "brown",
    texts: Annotated[int, typer.Option(min=1, help="Number of texts.")] = 2000,
) -> Result:
    """Measure how alike tokenizers are, and what the paper's thresholds say of text through the other's head."""
    chosen = command.names(models, "--models") + (_ENCODERS if models == command.ALL else ())
    command.at_least_two(chosen, "tokenizers")
    return job.measure(chosen, Corpora().draw(load_dataset(data), texts).texts, data=data)


def generation(
    job: Job,
    models: Annotated[
        str,
        typer.Option(
            help="Causal language models, separated by commas: smollm2, gemma, folders, hub ids; 'all': those built in "
            "whose terms need no consent, or have it."
        ),
    ] = command.ALL,
    data: Annotated[str, typer.Option(help="Texts that passages are made of.")] = "brown",
    pairs: Annotated[int, typer.Option(min=100, help="Pairs of tokens that a map is fitted on.")] = 40_000,
    test: Annotated[int, typer.Option(min=50, help="Positions that a map is scored on.")] = 3_000,
    sweep: Annotated[int, typer.Option(min=50, help="Of these, positions for the other depths.")] = 500,
    depths: Annotated[str, typer.Option(help="Depths, separated by commas.")] = ",".join(DEPTHS),
    ridge: Annotated[str, typer.Option(help="Penalty of the map: a number as in the paper, or 'auto'.")] = "1e-4",
    exact: Annotated[bool, typer.Option("--exact", help="Fit on tokens that end at the same character only.")] = False,
    max_tokens: Annotated[int, typer.Option(min=8, help="Tokens of a passage that models read.")] = 128,
    samples: Annotated[int, typer.Option(min=0, max=12, help="Prompts that texts are written from.")] = 6,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a text.")] = 40,
    questions: Annotated[int, typer.Option(min=0, help="Multiple-choice questions; 0 for none.")] = 50,
    question_data: Annotated[
        str, typer.Option(help="JSONL with question, choices and answer, or a data set with classes.")
    ] = "wordnet/nouns/test",
    encoder: Annotated[str, typer.Option(help="Encoder that texts are compared by.")] = "minilm",
    stream_check: Annotated[
        int, typer.Option(min=0, help="Also measure the memory of a fit of so many pairs at d = 960.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Draw of passages and questions.")] = 0,
) -> Result:
    """Measure text through another model's head: prediction, depths, texts and answers of all pairs of models."""
    from securealign.lab.experiments.generation.setting import GenerationConfig

    chosen = command.names(depths, "--depths")
    for depth in chosen:
        blocks_below(depth, 1)
    config = GenerationConfig(
        models=command.names(models, "--models"),
        data=data,
        pairs=pairs,
        test=test,
        sweep=min(sweep, test),
        ridge=penalty(ridge, "--ridge"),
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
    return job.measure(config, job.embeddings(), stream_pairs=stream_check)


def membership(
    job: Job,
    rows: Annotated[str, Integers("Public rows; sweeps share the first.")] = "2500,1000,500",
    shots: Annotated[str, Integers("Texts of the provider in a map; sweeps share the first.")] = "128,32,64",
    penalties: Annotated[
        str, typer.Option(help="Ridge penalties as shares, separated by commas; sweeps share the first.")
    ] = "0.01,0.001,0.1,1",
    epsilons: Annotated[
        str, typer.Option(help="Epsilons of differential privacy, separated by commas; '' for none.")
    ] = "10,1,0.1",
    maps: Annotated[int, typer.Option(min=8, help="Shadow maps of a setting.")] = 200,
    private_maps: Annotated[int, typer.Option(min=8, help="Shadow maps of a setting with differential privacy.")] = 60,
    folds: Annotated[int, typer.Option(min=2, help="Folds of shadow maps.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all draws.")] = 0,
) -> Result:
    """Attack maps: does a map tell which texts of the provider it was made from, and what does noise change."""
    from securealign.lab.experiments.membership.measure import SweepPlan

    plan = SweepPlan(
        rows=tuple(integers(rows, "--rows")),
        shots=tuple(integers(shots, "--shots")),
        penalties=command.floats(penalties, "--penalties"),
        epsilons=command.floats(epsilons, "--epsilons"),
        maps=maps,
        private_maps=private_maps,
        folds=folds,
        seed=seed,
    )
    texts = {"train": 2 * max(plan.shots) + _SPARE, "public": max(plan.rows), "seed": seed}
    return job.measure(job.config(texts=texts), plan)


def leakage(
    job: Job,
    rows: Annotated[str, Integers("Public rows that maps are fitted on, to be compared.")] = "250,500,1000,2000",
    seeds: command.Seeds = 3,
    map: command.Map = "soft",  # noqa: A002
) -> Result:
    """Measure what an alignment tells of the provider's embeddings, and mapped embeddings of the client's texts."""
    return job.measure(job.config(seeds=seeds, map=map), sizes=integers(rows, "--rows"))


_TEXTS = {"train": 1000, "test": 500, "public_texts": 2500, "max_tokens": command.TOKENS}
_SOME_TASKS = "20ng,r8,movie,wordnet"

#: Each experiment, with its shared options and their defaults.
EXPERIMENTS: Mapping[Callable[..., Result], Mapping[str, Any]] = {
    similarity: {"encoders": command.ALL, "data": command.ALL_TASKS, "public": command.ALL_PUBLIC, **_TEXTS},
    classification: {"encoders": command.ALL, "data": command.ALL_TASKS, "public": command.ALL_PUBLIC, **_TEXTS},
    ood: {"encoders": "mpnet,minilm,e5,smollm2", "data": _SOME_TASKS, "public": command.ALL_PUBLIC, **_TEXTS},
    tokenizers: {},
    generation: {},
    membership: {
        "encoders": "mpnet,minilm",
        "data": "20ng",
        "public": command.ALL_PUBLIC,
        "max_tokens": command.TOKENS,
    },
    leakage: {
        "encoders": command.ALL,
        "data": _SOME_TASKS,
        "public": command.ALL_PUBLIC,
        "test": 500,
        "public_texts": 2500,
        "max_tokens": command.TOKENS,
    },
}
