"""What an alignment gives away: of the provider's public embeddings by its R^2, and of texts by mapped embeddings.

From the product Z_B^T Z_A the client works out the part of Z_A in the column space of Z_B, whatever the penalty: its
share of the variance is measured against N / d_B, with the pairing of rows shuffled as the control. And whoever saw
mapped embeddings in clear, as the provider would without encryption, could look up the nearest texts.
"""
