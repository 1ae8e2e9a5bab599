"""Measures that compare embeddings, maps and tokenizers."""
