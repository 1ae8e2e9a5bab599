"""securealign chat: answers by one model's body and another model's head, printed while they are generated."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from securealign.commands import AsJson, failures, penalty, progress
from securealign.errors import ConfigurationError

if TYPE_CHECKING:
    from securealign.lab.generation.stitched import StitchedModel

_PROMPT = "> "
#: A run of tokens that repeats so often ends an answer.
_LOOPS = 4


def chat(
    source: Annotated[str, typer.Option(help="Model whose body reads: built-in name, folder or hub id.")],
    target: Annotated[str | None, typer.Option(help="Model whose head writes; not needed with --native.")] = None,
    map_folder: Annotated[
        Path | None, typer.Option("--map", help="Folder of a fitted map; without it, one is fitted and kept.")
    ] = None,
    data: Annotated[str, typer.Option(help="Texts that a map is fitted on.")] = "brown",
    pairs: Annotated[int, typer.Option(min=100, help="Pairs of tokens that a map is fitted on.")] = 20_000,
    ridge: Annotated[str, typer.Option(help="Penalty of the map: a number, or 'auto'.")] = "1e-4",
    prompt: Annotated[
        str | None, typer.Option(help="One request; without it, each line of standard input is one.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of sampling; 0 takes the most likely token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Share of probability that tokens are sampled from.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 128,
    native: Annotated[bool, typer.Option("--native", help="Use the source's own head instead, to compare.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer through a stitched pair: the source's body, a linear map, and the target's head.

    Small models answer poorly this way; 'securealign experiment generation' measures how poorly.
    """
    from securealign.lab.generation.decoding import Sampling, StopRules
    from securealign.lab.generation.stitched import frame

    with failures(as_json=as_json):
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
        if target is None and not native:
            raise ConfigurationError("No head is named.", hint="Give --target MODEL, or --native for the source's own.")
        pair = _pair(source, None if native else target, map_folder, data, pairs, ridge)
        rules = StopRules(max_new_tokens=max_new_tokens, repeats=_LOOPS)
        history: list[dict[str, str]] = []
        for request in [prompt] if prompt is not None else _lines(as_json=as_json):
            history.append({"role": "user", "content": request})
            answer, end, tokens = "", "", 0
            for step in pair.stream(frame(pair.source, history), rules, sampling):
                answer += step.text
                tokens += step.token is not None
                end = step.end.value if step.end is not None else ""
                if not as_json:
                    typer.echo(step.text, nl=False)
                    sys.stdout.flush()
            history.append({"role": "assistant", "content": answer})
            line = {"prompt": request, "text": answer, "tokens": tokens, "end": end}
            typer.echo(json.dumps(line) if as_json else "")


def _pair(source: str, target: str | None, map_folder: Path | None, data: str, pairs: int, ridge: str) -> StitchedModel:
    """Return the source's body with the target's head, or with its own for no target."""
    from securealign.alignment import AlignmentMap
    from securealign.data import load_dataset
    from securealign.lab.assets.lookup import causal_lm_folder, require_terms
    from securealign.lab.generation.causal import CausalModel
    from securealign.lab.generation.fitting import FitSettings, Stitch, fitted_maps
    from securealign.lab.generation.passages import join_passages, split_passages
    from securealign.lab.generation.stitched import StitchedModel

    def opened(name: str) -> CausalModel:
        return CausalModel(causal_lm_folder(name), name=name)

    if target is None:
        return StitchedModel.native(opened(source))
    require_terms((source, target))
    fit = FitSettings(pairs=pairs, ridge=penalty(ridge, "--ridge"))
    known = AlignmentMap.from_pretrained(map_folder) if map_folder is not None else None
    models = {name: opened(name) for name in dict.fromkeys((source, target))}
    if known is not None:
        depth, landing = (str(known.metadata.get(name, "post-norm")) for name in ("depth", "landing"))
        return StitchedModel(models[source], models[target], known, depth=depth, landing=landing)
    stitch = Stitch(source, target)
    texts = split_passages(join_passages(load_dataset(data).texts)).train
    with progress(enabled=True) as bar:
        found = fitted_maps(models, [stitch], texts, [fit], report=bar("fitting the map"))
    return StitchedModel(models[source], models[target], found[stitch, fit])


def _lines(*, as_json: bool) -> Iterator[str]:
    """Yield the lines of standard input that are not blank; on a terminal, print a prompt before each."""
    shown = sys.stdin.isatty() and not as_json
    while True:
        if shown:
            typer.echo(_PROMPT, nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
