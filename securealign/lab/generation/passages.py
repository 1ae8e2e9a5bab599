"""Passages of about one length from sentences: hidden states need context, and batches need little padding."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from securealign.errors import ErrorCode, InputError

#: About 100 tokens of English.
PASSAGE_CHARACTERS = 450


def join_passages(texts: Iterable[str], *, characters: int = PASSAGE_CHARACTERS) -> list[str]:
    """Return consecutive texts joined into passages of at least this many characters, without a shorter rest."""
    passages: list[str] = []
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text.strip())
        length += len(waiting[-1]) + 1
        if length >= characters:
            passages.append(" ".join(waiting))
            waiting, length = [], 0
    return passages


@dataclass(frozen=True)
class Passages:
    """Passages to fit a map on, and others to test it on."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def split_passages(passages: Sequence[str], *, test_share: float = 0.1, seed: int = 0) -> Passages:
    """Return passages in an order drawn by hash, a share for tests; raises `InputError` when one part is empty."""
    order = sorted(dict.fromkeys(passages), key=lambda text: hashlib.sha256(f"{seed}/{text}".encode()).digest())
    cut = round(len(order) * test_share)
    if not 0 < cut < len(order):
        raise InputError(
            f"{len(order)} passages are too few to fit and to test on.",
            hint="Give a data set with more text.",
            code=ErrorCode.TOO_FEW_ROWS,
        )
    return Passages(train=tuple(order[cut:]), test=tuple(order[:cut]))
