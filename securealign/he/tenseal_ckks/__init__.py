"""The paper's stack and formula, as the baseline to compare with: CKKS on TenSEAL (Benaissa et al., arXiv 2104.03152).

    profile   ring, scales and sizes
    engine    the calls of the library; the only module that imports it, and only in a worker

Training multiplies each encrypted row with the provider's numbers one by one and sums; inference takes one `dot` for
each class. A query fills all slots with zeros behind it, so that each slot of an answer holds the whole result: without
them the slots hold partial sums, which give the head away. Answers are not re-randomised, and nothing is flooded.
"""
