"""Are two encoders worth aligning? A page that answers this for two encoders and public texts.

`setting` says what is compared; `probes` and `evidence` measure it, `tokens` compares tokenizers of language models,
`rules` decides; `assess` asks the planner for costs and puts all of it into an `Assessment`, which `page` renders.
"""
