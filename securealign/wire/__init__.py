"""Messages as bytes: generated protobuf classes, and the codec that is the only place to know them."""

from securealign.wire.codec import InferenceCodec, TrainingCodec

__all__ = ["InferenceCodec", "TrainingCodec"]
