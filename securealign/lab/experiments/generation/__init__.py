"""Text from stitched pairs of language models (paper, section 3.2 and appendices B-E).

Maps are fitted on passages of a corpus and tested on others: how well mapped states predict the next token through the
other model's head, from which depth, what the pairs write, and which multiple-choice questions they answer. `streaming`
measures the memory of a fit.
"""
