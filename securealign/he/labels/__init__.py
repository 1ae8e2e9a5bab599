"""Labels without logits: garbled circuits and oblivious transfer, as docs/label-spec.md defines them.

`circuits` holds the circuit, `garbling` its two encrypted interpreters, `steps` how they do what they do, `transfer`
and `extension` the oblivious transfer, `layout` all sizes, and `provider` and `client` the two sides. Nothing here
knows where the shares come from.
"""
