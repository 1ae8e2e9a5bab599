"""Naming what keeps two parties from working together."""
