"""Encoders that turn texts into embeddings, embeddings that were computed elsewhere, and a cache of both.

`open_encoder` is the way in. torch and transformers are imported when a transformer is opened, not before, so that this
package imports without them; another kind of encoder is a class with the shape of `Encoder`, which an entry point adds
under a name (`encoders.py`).
"""

from securealign.models.cache import EmbeddingCache
from securealign.models.encoder import Encoder
from securealign.models.encoders import builtin_encoders, open_encoder
from securealign.models.precomputed import load_embeddings

__all__ = ["EmbeddingCache", "Encoder", "builtin_encoders", "load_embeddings", "open_encoder"]
