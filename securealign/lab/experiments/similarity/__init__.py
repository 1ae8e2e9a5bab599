"""How alike encoders see texts (paper, Figure 2 and Appendix A): linear CKA and SVCCA, with controls at chance level.

For every pair of encoders on every corpus, some times over: CKA, the same without its bias, with standardised
dimensions, and with shuffled rows; and SVCCA on held-out rows, with and without one side shuffled.
"""
