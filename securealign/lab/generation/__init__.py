"""Text from a stitched pair of language models: one model's body, an alignment map, the other model's head.

`causal` opens a model; `fitting` streams paired hidden states into moments and keeps the maps; `scoring` measures a map
on texts that it was not fitted on; `stitched` frames prompts and decodes, token by token as `decoding` says. torch and
transformers are imported when a model is opened, not before.
"""
