"""Pinned files from package registries: texts, encoders, language models."""
