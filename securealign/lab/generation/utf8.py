"""From tokens to text as they come: the bytes of each token, and characters as soon as they are complete."""

from __future__ import annotations

import codecs
import re
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.lab.measures.tokenizers import BYTE_OF_CHARACTER

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "▁"
#: A byte from 0x80 to 0xBF continues a character of UTF-8.
_CONTINUATION = range(0x80, 0xC0)


class TokenBytes:
    """The bytes of each token of a tokenizer of transformers; unknown and special tokens have none."""

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
        return np.array([self.of(token)[:1] > b"" and self.of(token)[0] in _CONTINUATION for token in range(self.size)])

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self._names)


class TextStream:
    """Turns the bytes of tokens into text, holding back the bytes of a character that is not complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bool:
        """Whether the bytes so far end within a character."""
        return bool(self._decoder.getstate()[0])

    def push(self, data: bytes) -> str:
        """Return the characters that these bytes complete."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """Return what stands for bytes that never became a character."""
        return self._decoder.decode(b"", final=True)
