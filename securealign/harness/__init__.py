"""Measuring: simulation, planning, bench, replaying and reporting of run files."""
