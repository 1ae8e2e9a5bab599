"""What an operator sees of a running provider: health, metrics, and the shape of the service."""
