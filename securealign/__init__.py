"""Secure linear alignment: one organisation's classifier on another's embeddings, under encryption."""

__version__ = "0.1.0"
