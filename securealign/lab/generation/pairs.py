"""Which token of one tokenizer goes with which token of another, by character offsets alone (paper, appendix B-E)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

#: End offset of a token that stands for no character of the text.
NO_OFFSET = -1


class TokenPairs(NamedTuple):
    """Positions of paired tokens: `target[k]` goes with `source[k]`, both int64 of shape (pairs,), in text order."""

    target: Integers
    source: Integers


def pair_tokens(target_ends: npt.ArrayLike, source_ends: npt.ArrayLike, *, exact: bool = False) -> TokenPairs:
    """Pair each target token with the first source token that ends at or behind its end.

    The arguments are the end offsets in characters of each token, `NO_OFFSET` for special tokens, and do not decrease
    otherwise. A target token behind the end of all source tokens has no partner. With `exact`, only tokens that end at
    the same character are paired: the source has then read the same text as the target, and not a character more.
    """
    target, source = (np.asarray(ends, dtype=np.int64) for ends in (target_ends, source_ends))
    target_at, source_at = np.flatnonzero(target > NO_OFFSET), np.flatnonzero(source > NO_OFFSET)
    partner = np.searchsorted(source[source_at], target[target_at], side="left")
    kept = partner < len(source_at)
    pairs = TokenPairs(target_at[kept], source_at[partner[kept]])
    if not exact:
        return pairs
    same = target[pairs.target] == source[pairs.source]
    return TokenPairs(pairs.target[same], pairs.source[same])
