"""Sessions byte by byte: what travelled under seeded randomness, as one JSON file for each session.

A difference means that the protocol, its encoding or the bytes of a suite have changed, so that releases may no longer
understand each other. If that is intended, `python -m transcripts.generate` in the folder above writes the files anew.
"""
