"""What an alignment reveals of the provider's public embeddings, and mapped embeddings of the client's texts.

From the product Z_B^T Z_A the client works out the part of Z_A in the column space of Z_B, whatever the penalty: its
share of the variance is measured against N / d_B, with the pairing of rows shuffled as the control. An
observer of mapped embeddings in clear, as the provider would be without encryption, could look up the nearest texts.
"""
