"""Checks that name what keeps two parties from working together."""
