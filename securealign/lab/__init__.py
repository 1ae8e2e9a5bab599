"""Experiments, language models, pinned assets and their conversion."""
