"""Are two encoders worth aligning? A page that answers this for two encoders and public texts.

`sides` and `setting` say what is compared; `likeness`, `probes` and `clusters` measure it, `tokens` compares tokenizers
of language models, `loss` says what is to be expected elsewhere, `cost` asks the planner, `rules` decides; `assess`
puts all of it into an `Assessment`, which `page` and `summary` render.
"""
