"""Are two encoders worth aligning? The decision tool: two encoders and public texts in, one page out.

`sides` and `setting` say what is compared; `likeness`, `probes` and `clusters` measure it, `tokens` compares tokenizers
of language models, `loss` says what is to be expected elsewhere, `cost` asks the planner, `rules` decides; `assess`
puts all of it into an `Assessment`, which `page` writes down.
"""
