"""Fixed-point scales: powers of two, so that scaling is exact and a scale that travels reveals a magnitude only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Exponents = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Exponents travel as int16 and stay where float64 has normal numbers.
_LARGEST = 900


def largest_exponents(
    norms: Floats, norm_limit: float, peaks: Floats | None = None, peak_limit: float = 0
) -> Exponents:
    """Return the largest e with norm * 2^e <= norm_limit and peak * 2^e <= peak_limit; 0 for columns of zeros.

    Dead dimensions are common in real encoders; any scale fits them.
    """
    ratios = np.divide(norm_limit, norms, out=np.ones_like(norms), where=norms > 0)
    if peaks is not None:
        ratios = np.minimum(ratios, np.divide(peak_limit, peaks, out=np.ones_like(peaks), where=peaks > 0))
    exponents = np.floor(np.log2(ratios)).astype(np.int64)
    return np.clip(exponents, -_LARGEST, _LARGEST)
