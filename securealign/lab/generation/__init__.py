"""Text from a stitched pair of language models: one model's body, an alignment map, the other model's head.

`pairs` pairs the tokens of two tokenizers; `causal` wraps a model; `fitting` streams paired hidden states into moments
and `maps` keeps the maps; `scoring` measures a map on texts that it was not fitted on; `stitched` decodes, with the
help of `context` (key-value cache), `utf8` (tokens to text), `sampling` and `stopping`; `chat` frames prompts. torch
and transformers are imported when a model is opened, not before.
"""
