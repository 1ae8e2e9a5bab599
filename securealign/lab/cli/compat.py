"""securealign compat: are two encoders worth aligning?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures, progress, table_console
from securealign.data import load_dataset
from securealign.files import write_atomically
from securealign.harness.cli.options import Classes, require_page
from securealign.he.registry import DEFAULT_SUITE
from securealign.lab.assets.lookup import require_terms
from securealign.lab.cli.experiment.command import Map, MaxTokens, Seeds, TestTexts, TrainTexts, command_line, names
from securealign.lab.experiments.compat.assess import Usage, assess
from securealign.lab.experiments.compat.page import lines, render
from securealign.lab.experiments.compat.setting import USUAL_TEXTS, CompatConfig, Public, open_side, usual_texts
from securealign.lab.experiments.corpora import TASKS, Corpora, Embeddings
from securealign.lab.experiments.run import Store

_SIDE = "built-in encoder, model folder or hub id; or .npy, .npz, .safetensors with a row for each public text"


def compat(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help=f"Client's {_SIDE}.")],
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Provider's, named alike.")],
    public: Annotated[
        str, typer.Argument(metavar="PUBLIC", help="Public texts: JSONL, CSV or text file, or a built-in data set.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write, an .html file.")] = Path(
        "compat.html"
    ),
    probes: Annotated[
        str,
        typer.Option(
            help=f"Tasks to try, separated by commas: {', '.join(TASKS)}, or TRAIN.jsonl:TEST.jsonl; '' none."
        ),
    ] = "20ng,r8,movie,wordnet",
    texts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Public texts to use at most; {USUAL_TEXTS:,} unless given, or 3 for each of the client's dimensions "
            "if that is more.",
        ),
    ] = None,
    train: TrainTexts = 600,
    test: TestTexts = 300,
    network: Annotated[str, typer.Option(help="Network to plan for, as in 'securealign plan'.")] = "wan",
    suite: Annotated[str, typer.Option(help="Suite to plan for.")] = DEFAULT_SUITE,
    queries: Annotated[int, typer.Option(min=1, help="Queries to plan for.")] = 1000,
    classes: Classes = 20,
    max_tokens: MaxTokens = 64,
    seeds: Seeds = 3,
    map: Map = "soft",  # noqa: A002 - what users call it
    as_json: AsJson = False,
) -> None:
    """Tell whether two encoders are worth aligning, on a page: accuracy to expect, likeness, cost, and what to do.

    Minutes the first time; what was computed is kept.
    """
    with failures(as_json=as_json), progress(enabled=True) as bar:
        require_page(output)
        usage = Usage(network=network, suite=suite, queries=queries, classes=classes)
        usage.check()
        require_terms((client, provider))
        dataset = load_dataset(public)
        embeddings = Embeddings(max_tokens=max_tokens, add_bar=bar)
        sides = [open_side(spec, dataset.texts, embeddings) for spec in (client, provider)]
        corpora = Corpora(train=train, test=test)
        count = texts if texts is not None else usual_texts(sides[0].dimension)
        setting = CompatConfig(
            client=sides[0],
            provider=sides[1],
            public=Public.draw(dataset, Path(public).name if Path(public).is_file() else public, count, corpora),
            probes=names(probes, "--probes") if probes.strip() else (),
            corpora=corpora,
            seeds=seeds,
            map_kind=map,
        )
        found = assess(setting, Store(), usage, max_tokens=max_tokens, add_bar=bar, command=command_line())
        page = render(found).encode()
        write_atomically(output, page)
    if as_json:
        typer.echo(json.dumps({"file": str(output), "bytes": len(page), **found.as_dict()}, allow_nan=False))
        return
    console = table_console()
    for style, words in lines(found):
        console.print(words, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)
    typer.echo(f"{output}: {len(page) / 1e3:,.0f} KB", err=True)
