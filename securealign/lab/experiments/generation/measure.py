"""Prediction, depths, texts and answers of all ordered pairs of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securealign.commands import counted
from securealign.lab.experiments.embeddings import AddBar, Embeddings, no_bars
from securealign.lab.experiments.generation.answering import answered
from securealign.lab.experiments.generation.prediction import PairScorer, all_maps, native_row
from securealign.lab.experiments.generation.questions import Question, category_questions, read_questions
from securealign.lab.experiments.generation.setting import Pair, Setting
from securealign.lab.experiments.generation.streaming import measure_stream
from securealign.lab.experiments.generation.writing import likeness, written
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row, Store
from securealign.lab.generation.maps import map_key
from securealign.lab.generation.stitched import StitchedModel

NAME = "generation"
#: A first run of a tenth shows whether memory grows with the number of pairs.
_STREAM_DIMENSION = 960


def measure(
    setting: Setting,
    store: Store,
    embeddings: Embeddings,
    *,
    stream_pairs: int = 0,
    add_bar: AddBar = no_bars,
    command: str = "",
) -> Result:
    """Return the tables of the experiment; `stream_pairs` above 0 also measures the memory of so large a fit."""
    maps = all_maps(setting, add_bar("pairs of tokens"))
    models = [native_row(setting, store, name) for name in setting.opened]
    scores: list[Row] = []
    for pair in setting.ordered_pairs:
        scores += PairScorer(setting, store, pair, maps).rows(add_bar(f"{pair[0]} to {pair[1]}"))
    speakers = _speakers(setting, maps)
    texts = {
        name: written(setting, store, stitched, key)
        for name, (stitched, key) in counted(speakers.items(), add_bar("texts"))
    }
    tables = {
        "models": models,
        "scores": scores,
        "texts": [{"source": name[0], "target": name[1], **row} for name, rows in texts.items() for row in rows],
        "likeness": [
            likeness(pair, texts[pair], {name: texts[name, ""] for name in setting.opened}, setting.encoder, embeddings)
            for pair in setting.ordered_pairs
            if setting.samples
        ],
        "questions": _questions(setting, store, speakers, add_bar),
        "streaming": [
            measure_stream(pairs, _STREAM_DIMENSION) for pairs in (stream_pairs // 10, stream_pairs) if pairs
        ],
    }
    return Result(experiment=NAME, settings=_described(setting), tables=tables, command=command)


#: Who writes, by source and target, the latter empty for a model by itself; with the key of what it depends on.
Speakers = dict[Pair, tuple[StitchedModel, dict[str, Any]]]


def _speakers(setting: Setting, maps: dict[Any, Any]) -> Speakers:
    found: Speakers = {
        (name, ""): (StitchedModel.native(model), {"model": model.fingerprint})
        for name, model in setting.opened.items()
    }
    for pair in setting.ordered_pairs:
        stitch, fit = setting.stitches(pair)[0], setting.fits[0]
        stitched = StitchedModel(setting.opened[pair[0]], setting.opened[pair[1]], maps[stitch, fit])
        found[pair] = (stitched, {"map": map_key(setting.opened, stitch, setting.train_digest, fit)})
    return found


def _questions(setting: Setting, store: Store, speakers: Speakers, add_bar: AddBar) -> list[Row]:
    if not setting.questions:
        return []
    questions = _load_questions(setting)
    return [
        {"source": source, "target": target, **answered(store, stitched, questions, key)}
        for (source, target), (stitched, key) in counted(speakers.items(), add_bar("questions"))
    ]


def _load_questions(setting: Setting) -> list[Question]:
    path = Path(setting.question_data)
    if path.is_file():
        return read_questions(path, setting.questions)
    return category_questions(setting.load(setting.question_data), setting.questions, seed=setting.seed)


def _described(setting: Setting) -> dict[str, Any]:
    return {
        "models": list(setting.opened),
        "data": setting.data,
        "pairs": setting.pairs,
        "test": setting.test,
        "sweep": setting.sweep,
        "ridge": setting.ridge,
        "exact": setting.exact,
        "max_tokens": setting.max_tokens,
        "depths": list(setting.depths),
        "max_new_tokens": setting.max_new_tokens,
        "question_data": Path(setting.question_data).name
        if Path(setting.question_data).is_file()
        else setting.question_data,
        "seed": setting.seed,
    }
