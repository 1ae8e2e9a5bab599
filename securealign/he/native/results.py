"""What a worker decrypted, checked and brought back from its scale."""

from __future__ import annotations

import numpy as np

from securealign.errors import CiphertextError, ErrorCode
from securealign.he.scales import Exponents
from securealign.matrices import FloatMatrix


def unscale(numbers: FloatMatrix, shape: tuple[int, int], exponents: Exponents) -> FloatMatrix:
    """Return numbers times 2^-exponents; raises `CiphertextError` for another shape or numbers that are not finite."""
    if numbers.shape != shape:
        raise CiphertextError(f"A worker decrypted numbers of shape {numbers.shape}, not {shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        unscaled: FloatMatrix = np.ldexp(numbers, -exponents)
    if not np.isfinite(unscaled).all():
        raise CiphertextError("Bytes decrypt to no finite number.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)
    return unscaled
