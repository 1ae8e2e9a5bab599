"""When to stop: after so many tokens, at a string, at a loop, or at the letter of an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


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
    """`max_new_tokens` as in the paper; `strings` end a text and are not part of it; 0 `repeats` lets a text loop.

    `repeats` is how often the same tokens in a row may come before it is a loop; `letters` are the valid answers.
    """

    max_new_tokens: int = 128
    strings: tuple[str, ...] = ()
    repeats: int = 0
    letters: str = ""


#: The longest run of tokens that is looked for in a loop.
_LONGEST_LOOP = 32


def loops(tokens: Sequence[int], repeats: int) -> bool:
    """Return whether the tokens end with the same run of up to 32 tokens, `repeats` times in a row."""
    if repeats < 2:
        return False
    for length in range(1, min(_LONGEST_LOOP, len(tokens) // repeats) + 1):
        tail = list(tokens[-length * repeats :])
        if tail == tail[-length:] * repeats:
            return True
    return False


def first_letter(text: str, letters: str) -> str | None:
    """Return the first of the letters that stands alone in a text."""
    if not letters:
        return None
    found = re.search(rf"(?<![\w'])([{re.escape(letters)}])(?![\w'])", text)
    return found[1] if found else None


class StopScanner:
    """Passes text on until one of some strings appears, holding back what may be the beginning of one."""

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
        keep = max((_overlap(self._held, string) for string in self._strings), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """Return the text that was held back for nothing."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, string: str) -> int:
    """Return the length of the longest end of `text` that begins `string`."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
