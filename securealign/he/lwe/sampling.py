"""Secrets, errors and floods, drawn from a CSPRNG.

The rounded Gaussian is sampled by inversion of its distribution function at 64 bits. A table over the first 16 bits
decides all but one draw in a thousand; the rest take 48 more bits. None of this is constant time.
"""

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy

Int8Matrix = npt.NDArray[np.int8]

#: round(2^64 * P(X <= x)) for x = -29, ..., -1 and X the Gaussian of width 3.19 rounded to integers.
LOWER_CUMULATIVE = (
    4,
    61,
    904,
    12075,
    146446,
    1612339,
    16116387,
    146275112,
    1205674518,
    9026519349,
    61393817825,
    379435592377,
    2131420966285,
    10885364984136,
    50559598493734,
    213657792690097,
    821834429068658,
    2878928832568976,
    9190338056107981,
    26755395122950694,
    71098604989089624,
    172644411240819633,
    383583395177074092,
    781062315743612726,
    1460478443433878608,
    2513952623923710496,
    3995718930318738167,
    5886339889752929953,
    8074600214772492696,
)
_TAIL = len(LOWER_CUMULATIVE)
_AMBIGUOUS = np.int8(-128)


def _boundaries() -> npt.NDArray[np.uint64]:
    """Return the 64-bit distribution function at -29, ..., 28; its mirror image gives the upper half."""
    upper = [(1 << 64) - value for value in reversed(LOWER_CUMULATIVE)]
    return np.array([*LOWER_CUMULATIVE, *upper], dtype=np.uint64)


def _first_bits_table(boundaries: npt.NDArray[np.uint64]) -> Int8Matrix:
    """Return the sample decided by the first 16 bits, or `_AMBIGUOUS` where a boundary lies among the rest."""
    starts = np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)
    first = np.searchsorted(boundaries, starts, side="right")
    last = np.searchsorted(boundaries, starts | np.uint64((1 << 48) - 1), side="right")
    table: Int8Matrix = np.where(first == last, first - _TAIL, _AMBIGUOUS).astype(np.int8)
    return table


_BOUNDARIES = _boundaries()
_TABLE = _first_bits_table(_BOUNDARIES)


def gaussian(entropy: Entropy, shape: tuple[int, int]) -> Int8Matrix:
    """Return a matrix of rounded Gaussian errors of width 3.19."""
    count = shape[0] * shape[1]
    first = entropy.octets(2 * count).view("<u2")
    out: Int8Matrix = _TABLE[first]
    ambiguous = np.flatnonzero(out == _AMBIGUOUS)
    rest = entropy.octets(8 * len(ambiguous)).view("<u8") & np.uint64((1 << 48) - 1)
    draws = (first[ambiguous].astype(np.uint64) << np.uint64(48)) | rest
    out[ambiguous] = np.searchsorted(_BOUNDARIES, draws, side="right") - _TAIL
    return out.reshape(shape)


def ternary(entropy: Entropy, shape: tuple[int, int]) -> Int8Matrix:
    """Return a uniform matrix over {-1, 0, 1}; a byte of 255 is rejected so that 85 bytes stand for each value."""
    count = shape[0] * shape[1]
    parts: list[npt.NDArray[np.uint8]] = []
    missing = count
    while missing:
        raw = entropy.octets(missing + missing // 128 + 16)
        kept = raw[raw != 255][:missing]
        parts.append(kept)
        missing -= len(kept)
    values: Int8Matrix = (np.concatenate(parts) % np.uint8(3)).astype(np.int8) - np.int8(1)
    return values.reshape(shape)


def wide(entropy: Entropy, shape: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Return a uniform matrix over the 2,048 integers from -1,024 to 1,023."""
    draws = entropy.octets(2 * shape[0] * shape[1]).view("<u2") >> np.uint16(5)
    values: npt.NDArray[np.int16] = draws.view(np.int16) - np.int16(1024)
    return values.reshape(shape)


def flood(entropy: Entropy, shape: tuple[int, int], bits: int) -> npt.NDArray[np.int64]:
    """Return a uniform matrix over [-2^bits, 2^bits), bits <= 62."""
    draws = entropy.octets(8 * shape[0] * shape[1]).view("<u8") >> np.uint64(63 - bits)
    values: npt.NDArray[np.int64] = draws.view(np.int64) - np.int64(1 << bits)
    return values.reshape(shape)
