"""Prediction, depths, texts and answers of all ordered pairs of models."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from securealign.alignment.maps import AlignmentMap
from securealign.lab.experiments.corpora import Embeddings
from securealign.lab.experiments.generation import writing
from securealign.lab.experiments.generation.prediction import PairScorer, native_cell
from securealign.lab.experiments.generation.setting import GenerationConfig, Pair
from securealign.lab.experiments.generation.streaming import measure_stream
from securealign.lab.experiments.run import Run
from securealign.lab.generation.fitting import fitted_maps, map_key
from securealign.lab.generation.stitched import StitchedModel

#: A first run of a tenth shows whether memory grows with the number of pairs.
_STREAM_DIMENSION = 960


def measure(run: Run, config: GenerationConfig, embeddings: Embeddings, *, stream_pairs: int = 0) -> dict[str, Any]:
    """Return the tables of the experiment; `stream_pairs` above 0 also measures the memory of so large a fit."""
    stitches = [stitch for pair in config.ordered_pairs for stitch in config.stitches(pair)]
    bar = run.add_bar("pairs of tokens")
    maps = fitted_maps(config.opened, stitches, config.passages.train, config.fits, report=bar)
    for name in config.opened:
        run.add(native_cell(config, name))
    run.measure("pairs of models", [PairScorer(config, pair, maps).cells for pair in config.ordered_pairs])
    speakers = _speakers(config, maps)
    run.measure("texts", [partial(writing.written, config, *speaker) for speaker in speakers])
    path, questions = Path(config.question_data), []
    if config.questions and path.is_file():
        questions = writing.read_questions(path, config.questions)
    elif config.questions:
        questions = writing.category_questions(config.load(config.question_data), config.questions, seed=config.seed)
    run.measure("questions", [partial(writing.answered, *speaker, questions) for speaker in speakers if questions])
    texts = {
        pair: [row for row in run.tables["texts"] if (row["source"], row["target"]) == pair] for pair, *_ in speakers
    }
    natives = {name: texts[name, ""] for name in config.opened}
    run.tables["likeness"] = [
        writing.likeness(pair, texts[pair], natives, config.encoder, embeddings)
        for pair in config.ordered_pairs
        if config.samples
    ]
    run.tables["streaming"] = [
        measure_stream(pairs, _STREAM_DIMENSION) for pairs in (stream_pairs // 10, stream_pairs) if pairs
    ]
    names = ("data", "pairs", "test", "sweep", "ridge", "exact", "max_tokens", "max_new_tokens", "seed")
    return {
        "models": list(config.opened),
        **{name: getattr(config, name) for name in names},
        "depths": list(config.depths),
        "question_data": path.name if path.is_file() else config.question_data,
    }


def _speakers(
    config: GenerationConfig, maps: Mapping[Any, AlignmentMap]
) -> list[tuple[Pair, StitchedModel, dict[str, Any]]]:
    """Return who writes: source and target, the latter empty for a model by itself; with the key of its texts."""
    found = [
        ((name, ""), StitchedModel.native(model), {"model": model.fingerprint}) for name, model in config.opened.items()
    ]
    for pair in config.ordered_pairs:
        stitch, fit = config.stitches(pair)[0], config.fits[0]
        stitched = StitchedModel(config.opened[pair[0]], config.opened[pair[1]], maps[stitch, fit])
        found.append((pair, stitched, {"map": map_key(config.opened, stitch, config.train_digest, fit)}))
    return found
