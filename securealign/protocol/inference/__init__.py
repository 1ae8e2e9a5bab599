"""Inference: the client obtains the logits of its queries."""
