"""The paper's experiments with models and data that can be had: one package each, and what they share.

A package has `measure.py`, which measures the tables of a `Result`, and `values.py`, which reads the result alone: it
draws it, sums it up, and gives the values of its template in `templates/`, a section of docs/results.md. `run.py` runs
an experiment; a `Store` keeps finished work, so that a killed run goes on where it was.
"""
