"""The client: owns an encoder and private texts; aligns and classifies."""
