"""How a text is decoded: which token comes next, the bytes of each, and when the text ends."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.errors import ConfigurationError
from securealign.lab.measures.tokenizers import BYTE_OF_CHARACTER
from securealign.optional import require


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest token; `top_p` keeps the likeliest tokens that hold this probability.

    Raises `ConfigurationError` for values out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigurationError(f"A temperature of {self.temperature:g} means nothing.", hint="Use 0 or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"A top-p of {self.top_p:g} is no probability.", hint="Use above 0, at most 1.")


class Chooser:
    """Chooses tokens one after the other, with a random stream of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._torch = require("torch", "A language model")
        self._random = self._torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Any, allowed: npt.NDArray[np.bool_] | None = None) -> int:  # noqa: ANN401 - a tensor
        """Return a token from logits (V,), among the `allowed` ones (V,) if there are any."""
        if allowed is not None and allowed.any():
            logits = logits.masked_fill(~self._torch.from_numpy(allowed), float("-inf"))
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, order = (logits / self._sampling.temperature).softmax(dim=0).sort(descending=True)
        # A token is kept when what lies before it does not reach top-p: the likeliest always is.
        before = probabilities.cumsum(dim=0) - probabilities
        kept = probabilities.masked_fill(before >= self._sampling.top_p, 0.0)
        return int(order[self._torch.multinomial(kept, 1, generator=self._random)])


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


class End(Enum):
    """Why a text ended."""

    TURN = "end of turn"
    SPECIAL = "token without text"
    LENGTH = "length"
    STRING = "stop string"
    REPETITION = "repetition"
    LETTER = "letter"


@dataclass(frozen=True)
class StopRules:
    """When a text ends: at `max_new_tokens` (default: the paper's), before one of `strings`, and at `letters` or loops.

    A loop is the same run of tokens `repeats` times in a row, 0 for no check; `letters` are the valid answers.
    """

    max_new_tokens: int = 128
    strings: tuple[str, ...] = ()
    repeats: int = 0
    letters: str = ""


#: The longest run of tokens that is looked for in a loop.
_LONGEST_LOOP = 32


def loops(tokens: Sequence[int], repeats: int) -> bool:
    """Return whether the tokens end with the same run of up to 32 tokens, `repeats` times in a row."""
    most = min(_LONGEST_LOOP, len(tokens) // repeats) if repeats > 1 else 0
    tails = (list(tokens[-length * repeats :]) for length in range(1, most + 1))
    return any(tail == tail[-length:] * repeats for length, tail in enumerate(tails, 1))


def first_letter(text: str, letters: str) -> str | None:
    """Return the first of the letters that stands alone in a text."""
    if not letters:
        return None
    found = re.search(rf"(?<![\w'])([{re.escape(letters)}])(?![\w'])", text)
    return found[1] if found else None


class StopScanner:
    """Passes text on until one of the strings appears; an end of the text that may begin one of them waits."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [string for string in strings if string]
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that can be shown; nothing behind a stop string ever is."""
        if self.stopped:
            return ""
        self._held += text
        places = [place for place in map(self._held.find, self._strings) if place >= 0]
        if places:
            self.stopped = True
            shown, self._held = self._held[: min(places)], ""
            return shown
        starts = (string[:length] for string in self._strings for length in range(1, len(string)))
        keep = max((len(start) for start in starts if self._held.endswith(start)), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """Return the text that still waits."""
        shown, self._held = self._held, ""
        return shown
