"""Membership inference on the alignment map W* (paper, appendix K): were these texts of the provider among its rows?

`shadow` makes maps whose members are known, in clear and as under differential privacy; `attack` turns a map into
evidence about a text, in three ways; `observe` says how often it is right, and how sure that is; `measure` runs sweeps
and controls.
"""
