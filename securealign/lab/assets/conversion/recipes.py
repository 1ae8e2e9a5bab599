"""Which built-in models are converted, and how."""

from __future__ import annotations

from securealign.lab.assets.conversion.e5 import convert_e5
from securealign.lab.assets.conversion.folders import Recipe
from securealign.lab.assets.conversion.gguf import convert_gguf
from securealign.lab.assets.conversion.glove import convert_glove
from securealign.lab.assets.conversion.onnx import convert_paraphrase

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
