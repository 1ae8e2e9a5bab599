"""Encoders that turn texts into embeddings, embeddings that were computed elsewhere, a cache of both, language models.

`open_encoder` and `causal_lm_folder` are the ways in. torch and transformers are imported when a transformer is opened,
not before, so that this package imports without them; another kind of encoder is a class with the shape of `Encoder`
and a row in `builtin.py`.
"""

from securealign.lab.assets.causal import builtin_causal_lms, causal_lm_folder
from securealign.lab.assets.encoders import builtin_encoders, open_encoder
from securealign.models.cache import EmbeddingCache
from securealign.models.encoder import Encoder
from securealign.models.precomputed import load_embeddings

__all__ = [
    "EmbeddingCache",
    "Encoder",
    "builtin_causal_lms",
    "builtin_encoders",
    "causal_lm_folder",
    "load_embeddings",
    "open_encoder",
]
