"""Fixed-point scales: powers of two, so that scaling is exact and a scale that travels reveals a magnitude only."""

import math

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError, ErrorCode, InputError

Exponents = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: A norm is known up to a power of two: it lies between half of a bound and the bound. Errors are as if it were this
#: share of the bound, the root mean square over both scales.
TYPICAL_SHARE = math.sqrt(2 * math.log(2) / 3)
#: Two exponents and a 40-bit number together stay within float64; columns of norm below 2^-388 lose bits to it.
_LARGEST = 450


def largest_exponents(norms: Floats, norm_limit: float) -> Exponents:
    """Return the largest e with norm * 2^e <= norm_limit, at most 450, which columns of zeros get.

    Columns of zeros are common in real encoders. Under the largest scale they decrypt to zero; under a smaller one the
    flood would be visible in them. Raises `InputError` for a norm that is not a number or too large for any scale.
    """
    if not (norms <= np.ldexp(norm_limit, _LARGEST)).all():
        raise InputError(
            "A column holds NaN, an infinity or values too large to scale.",
            hint="Rescale the matrix.",
            code=ErrorCode.NON_FINITE_INPUT,
        )
    ratios = np.divide(norm_limit, norms, out=np.ones_like(norms), where=norms > 0)
    exponents = np.floor(np.log2(ratios)).astype(np.int64)
    return np.clip(np.where(norms > 0, exponents, _LARGEST), -_LARGEST, _LARGEST)


def received_exponents(data: memoryview) -> Exponents:
    """Return the exponents a peer sent as int16; raises `CiphertextError` for one that no scaling gives."""
    exponents = np.frombuffer(data, dtype="<i2").astype(np.int64)
    if (np.abs(exponents) > _LARGEST).any():
        raise CiphertextError("A scale is out of range.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)
    return exponents
