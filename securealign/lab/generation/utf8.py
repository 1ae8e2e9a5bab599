"""The bytes of each token, from which text is decoded while it is generated."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.lab.measures.tokenizers import BYTE_OF_CHARACTER

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "▁"
#: A byte from 0x80 to 0xBF continues a character of UTF-8.
_CONTINUATION = frozenset(bytes([byte]) for byte in range(0x80, 0xC0))


class TokenBytes:
    """The bytes of each of the `size` tokens of a model; unknown and special tokens have none."""

    def __init__(self, tokenizer: Any, size: int, special: frozenset[int] = frozenset()) -> None:  # noqa: ANN401
        self._names: list[str | None] = list(tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer))))))
        self._names += [None] * (size - len(self._names))
        self._special = special
        self._added: dict[int, str] = {
            number: token.content for number, token in tokenizer.added_tokens_decoder.items()
        }
        self._byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)

    def of(self, token: int) -> bytes:
        """Return what a token adds to a text."""
        name = self._names[token] if token < len(self._names) else None
        if name is None or token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        if self._byte_level:
            return bytes(BYTE_OF_CHARACTER[character] for character in name if character in BYTE_OF_CHARACTER)
        single = _BYTE_TOKEN.fullmatch(name)
        return bytes([int(single[1], 16)]) if single else name.replace(_SPACE, " ").encode()

    @cached_property
    def continuing(self) -> npt.NDArray[np.bool_]:
        """Which tokens (V,) begin with a byte that continues a character."""
        return np.array([self.of(token)[:1] in _CONTINUATION for token in range(len(self._names))])
