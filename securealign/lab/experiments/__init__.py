"""The paper's experiments with models and data that can be had: one package each, and what they share.

A package holds `measure.py`, which computes a `Result`; `figures.py`, which draws it; and `section.py`, which writes it
down for docs/results.md. The last two read nothing but the result. Finished pieces of work are kept in a `Store`, so a
run that is killed goes on where it was, and a second run costs next to nothing.
"""
