"""Encoders of texts, a cache of their embeddings, and embeddings from files.

`open_encoder` opens an encoder. torch, transformers and sentence_transformers are imported when a model is opened, so
this package can be imported without them. To add a kind of encoder, write a class with the methods of `Encoder` and an
entry point that names it (`encoders.py`).
"""

from securealign.models.cache import EmbeddingCache
from securealign.models.encoder import Encoder
from securealign.models.encoders import builtin_encoders, open_encoder
from securealign.models.endpoint import Endpoint, EndpointEncoder
from securealign.models.precomputed import load_embeddings

__all__ = [
    "EmbeddingCache",
    "Encoder",
    "Endpoint",
    "EndpointEncoder",
    "builtin_encoders",
    "load_embeddings",
    "open_encoder",
]
