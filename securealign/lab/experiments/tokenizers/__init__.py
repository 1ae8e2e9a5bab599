"""How alike the tokenizers of two models are, and what the paper's thresholds say of text through the other's head."""
