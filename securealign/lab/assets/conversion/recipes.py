"""Which built-in models are converted, and how."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from securealign.lab.assets.conversion.bert import write_json
from securealign.lab.assets.conversion.e5 import convert_e5
from securealign.lab.assets.conversion.folders import Recipe, unusable
from securealign.lab.assets.conversion.gguf import convert_gguf
from securealign.lab.assets.conversion.onnx import convert_paraphrase
from securealign.lab.assets.static import VECTORS, WORDS
from securealign.optional import require

_TABLE = "glove_6B_50d_emb.npy"
_INDEX = "glove_6B_index.parquet"


def convert_glove(sources: Sequence[Path], folder: Path) -> None:
    """Write the words as JSON and their vectors row by row, which is how `GloveEncoder` reads them."""
    parquet = require("pyarrow.parquet", "The GloVe table")
    # The table is stored by columns; a memory-mapped one by rows is read where a text needs it.
    vectors = np.ascontiguousarray(np.load(sources[0] / _TABLE, allow_pickle=False), dtype=np.float32)
    words = parquet.read_table(sources[0] / _INDEX).column(0).to_pylist()
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise unusable(f"{sources[0]} holds {len(words)} words for vectors of shape {vectors.shape}.")
    np.save(folder / VECTORS, vectors)
    write_json(folder / WORDS, words)


RECIPES = {
    recipe.assets[0]: recipe
    for recipe in (
        Recipe(assets=("e5",), convert=convert_e5, revision=2),
        Recipe(assets=("paraphrase", "minilm"), convert=convert_paraphrase, revision=2),
        Recipe(assets=("glove",), convert=convert_glove),
        Recipe(assets=("smollm2",), convert=convert_gguf),
        Recipe(assets=("gemma",), convert=convert_gguf),
    )
}
