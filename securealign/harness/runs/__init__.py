"""Run files: reading, checking, simulated ones."""
