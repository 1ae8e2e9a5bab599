"""Ring, scales and sizes of `tenseal-ckks`: the library's usual ring of 8,192 with room for one multiplication.

At the largest norms a product is off by up to 2^-34 of them. A head's is off by up to 2^-22: it is rescaled by a prime
that counts as 2^40 and is a little less.
"""

from dataclasses import replace

from securealign.he.native.profile import Job, Profile, Ring

#: Bits of the primes: two that hold the numbers, and one for switching keys.
MODULUS_BITS = (60, 40, 60)
RING = Ring(dimension=8192, log_q=sum(MODULUS_BITS))
#: log2 of the factor between a number and its encoding.
SCALE = 40

#: Room for serialised objects; the library compresses them to sizes that differ by some hundred bytes.
_FRESH_BYTES = 236_000
_RESCALED_BYTES = 132_000
_PUBLIC_BYTES = 368_000
_EVALUATION_BYTES = 18_200_000

_JOB = Job(
    ring=RING,
    message_norm=2.0**9,
    operand_norm=2.0**8,
    fresh_bytes=_FRESH_BYTES,
    evaluated_bytes=_RESCALED_BYTES,
)


PROFILE = Profile(
    name="tenseal-ckks",
    parameter_set="tenseal-ckks-128",
    package="tenseal",
    advice="run: pip install 'securealign[tenseal]'",
    engine="securealign.he.tenseal_ckks.engine",
    parameters=(f"moduli {MODULUS_BITS}", f"scale {SCALE}"),
    # Summed before it is rescaled, which the library does after every product or not at all.
    covariance=replace(_JOB, evaluated_bytes=_FRESH_BYTES),
    head=_JOB,
    covariance_key_bytes=_PUBLIC_BYTES,
    head_key_bytes=lambda _shape: _EVALUATION_BYTES,
    answer_ciphertexts=lambda shape: shape.classes,
    largest_classes=1024,
    covariance_error=2.0**-37,
    head_error=2.0**-24,
)
