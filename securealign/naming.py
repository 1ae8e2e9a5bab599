"""Which characters a name may hold: of a class, what is shown on one line as it is and can be seen there.

The provider publishes class names, and the client prints them beside other output. The list is fixed rather than taken
from the interpreter's Unicode tables: two parties on different Python releases have to agree on it. The names of heads
and spaces stand in configuration files, and name folders.
"""

import re

from securealign.limits import Limits

# Joiners (U+200C, U+200D) and marks of direction spell Persian, Hindi and emoji. Overrides and isolates (U+202A to
# U+202E, U+2066 to U+2069) can show a name as another one.
_REFUSED = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: tabs, line ends, escapes of terminals
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff"  # halves of pairs, which have no UTF-8 form
    "\ufdd0-\ufdef" + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)) + "]"
)
# White space of Unicode that is no control character; a name of it alone shows nothing beside a score.
_BLANK = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]*")

_OFFER = re.compile("[a-z0-9][a-z0-9_.-]{0,63}")


def is_offer_name(name: str) -> bool:
    """Return whether a head or a space may have this name: up to 64 of a to z, digits, and _ . - inside."""
    return _OFFER.fullmatch(name) is not None


def fault_of_name(name: str) -> str | None:
    """Return what keeps `name` from being a class name, as the end of a sentence, or None."""
    longest = Limits().max_text
    if not name:
        return "is empty"
    if _BLANK.fullmatch(name):
        return "is blank"
    if len(name) > longest:
        return f"has {len(name)} characters, more than {longest}"
    refused = _REFUSED.search(name)
    return f"holds the character U+{ord(refused[0]):04X}, which cannot be shown" if refused else None
