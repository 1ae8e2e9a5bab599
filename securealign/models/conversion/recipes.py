"""Which built-in models are converted, and how."""

from __future__ import annotations

from securealign.models.conversion.e5 import convert_e5
from securealign.models.conversion.folders import Recipe
from securealign.models.conversion.gguf import convert_gguf
from securealign.models.conversion.glove import convert_glove
from securealign.models.conversion.onnx import convert_paraphrase

RECIPES = {
    recipe.assets[0]: recipe
    for recipe in (
        Recipe(assets=("e5",), convert=convert_e5),
        Recipe(assets=("paraphrase", "minilm"), convert=convert_paraphrase),
        Recipe(assets=("glove",), convert=convert_glove),
        Recipe(assets=("smollm2",), convert=convert_gguf),
        Recipe(assets=("gemma",), convert=convert_gguf),
    )
}
