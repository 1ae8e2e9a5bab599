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
