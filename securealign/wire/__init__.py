"""Messages as bytes: generated protobuf classes, and the codec that is the only place to know them."""

from securealign.wire.codec import (
    InferenceCodec,
    TrainingCodec,
    decode_listing,
    decode_listing_request,
    encode_listing,
    encode_listing_request,
)

__all__ = [
    "InferenceCodec",
    "TrainingCodec",
    "decode_listing",
    "decode_listing_request",
    "encode_listing",
    "encode_listing_request",
]
