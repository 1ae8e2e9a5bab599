"""Training: the client obtains the cross-covariance of both parties' public embeddings."""
