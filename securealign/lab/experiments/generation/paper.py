"""What the paper reports of generated text (section 3.2, appendices B-E)."""

from __future__ import annotations

#: Relative increase of perplexity for pairs of 7 to 8 billion weights.
PAPER_PERPLEXITY = 0.26
PAPER = (
    "The paper fits on 4,000 texts with penalty 1e-4 and has texts judged, with 10 as the most: Qwen2.5-7B through the "
    "head of Llama-3-8B gets 4.47, the natives 6.65 to 7.05, and gemma-3-270m with anything 1.0. It finds the states "
    "before and behind the final norm equivalent, and no right answer from 3/4 of the depth or below."
)
