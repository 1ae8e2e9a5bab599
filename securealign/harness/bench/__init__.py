"""Measurements: suites against the same computation in clear, interleaved in one run, as ratios."""
