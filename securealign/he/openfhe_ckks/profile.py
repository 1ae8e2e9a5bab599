"""Rings, scales and sizes of `openfhe-ckks`.

Training multiplies rows by integers only and needs no key switching, so dimension 2,048 with a modulus of 53 bits does.
A message has norm 2^30, an operand norm 2^21; by Cauchy and Schwarz their product stays below half the modulus. The
fresh error is about 2^8 in each slot; a product is off by up to 2^-17 of the norms, most of it noise that the library
adds on decryption, and a head's by up to 2^-18.

Inference also rotates. Keys are switched digit by digit (BV), without special primes, after the multiplication, when
the numbers are large beside the error that this adds.
"""

from securealign.he.interface import HeadShape
from securealign.he.native.profile import Job, Profile, Ring
from securealign.he.openfhe_ckks.layout import Layout

COVARIANCE_RING = Ring(dimension=2048, log_q=53)
HEAD_RING = Ring(dimension=4096, log_q=60)
#: log2 of the factor between a number and its encoding in the library; scales are ours, so any that fits will do.
COVARIANCE_SCALE = 44
HEAD_SCALE = 50
#: Bits of a digit in key switching.
DIGIT_BITS = 20

_WORD_BYTES = 8
#: Room for what a serialised object holds beside coefficients: parameters, tags, names.
_OVERHEAD_BYTES = 1024
_DIGITS = -(-HEAD_RING.log_q // DIGIT_BITS)


def _pair_bytes(ring: Ring) -> int:
    """Return the room for two ring elements: a ciphertext or a public key."""
    return 2 * ring.dimension * _WORD_BYTES + _OVERHEAD_BYTES


def head_layout(features: int, classes: int) -> Layout:
    """Return the layout of [z; 1] against the classes."""
    return Layout(features=features + 1, classes=classes, slots=HEAD_RING.slots)


def _head_key_bytes(shape: HeadShape) -> int:
    rotations = len(head_layout(shape.provider_dim, shape.classes).rotations)
    return (1 + rotations * _DIGITS) * _pair_bytes(HEAD_RING)


PROFILE = Profile(
    name="openfhe-ckks",
    parameter_set="openfhe-ckks-128",
    package="openfhe",
    advice="on Python 3.10, whose wheels hold it, run: pip install 'securealign[openfhe]'",
    engine="securealign.he.openfhe_ckks.engine",
    parameters=(f"scales {COVARIANCE_SCALE} {HEAD_SCALE}", f"digits {DIGIT_BITS}", "BV", "layout 1"),
    covariance=Job(
        ring=COVARIANCE_RING,
        message_norm=2.0**30,
        operand_norm=2.0**21,
        fresh_bytes=_pair_bytes(COVARIANCE_RING),
        evaluated_bytes=_pair_bytes(COVARIANCE_RING),
    ),
    head=Job(
        ring=HEAD_RING,
        message_norm=2.0**31,
        operand_norm=2.0**27,
        fresh_bytes=_pair_bytes(HEAD_RING),
        evaluated_bytes=_pair_bytes(HEAD_RING),
    ),
    covariance_key_bytes=_pair_bytes(COVARIANCE_RING),
    head_key_bytes=_head_key_bytes,
    answer_ciphertexts=lambda _shape: 1,
    largest_classes=HEAD_RING.slots,
    covariance_error=2.0**-19,
    head_error=2.0**-20,
)
