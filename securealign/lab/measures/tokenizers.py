"""How alike two tokenizers are, from token strings and offsets alone (paper, appendix on predictors of success).

Over the paper's 23 pairs of models, the rate of exact matches predicts the quality of generated text with r = 0.898 and
the Jaccard index of the vocabularies with r = 0.822. Character offsets say which tokens go together (appendix B-E).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
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


#: Paper: judge scores of 3.5 of 10 and above were seen from these rates of exact matches on, with models of this size.
EXACT_SUFFICES, EXACT_NEEDED, PARAMETERS_NEEDED = 0.67, 0.64, 4e9
#: Paper: every pair at or below this rate, or with a model smaller than this, failed.
EXACT_FAILS, PARAMETERS_FAIL = 0.24, 2e9

_CONTINUES = "##"


def _byte_characters() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for, as GPT-2 numbered them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


BYTE_OF_CHARACTER = _byte_characters()


class Style(Enum):
    """How a vocabulary writes spaces: bytes as characters (Ġ), a marked space (▁), or marked continuations (##)."""

    BYTES = "byte-level"
    METASPACE = "marked space"
    WORDPIECE = "marked continuation"


def style_of(vocabulary: Iterable[str]) -> Style:
    """Return how a vocabulary writes spaces, by which of the marks most of its tokens have."""
    counts = dict.fromkeys(Style, 0)
    for token in vocabulary:
        counts[Style.BYTES] += token.startswith("Ġ")
        counts[Style.METASPACE] += token.startswith("▁")
        counts[Style.WORDPIECE] += token.startswith(_CONTINUES)
    return max(counts, key=lambda style: counts[style])


def surface(token: str, style: Style) -> str:
    """Return the text of a token, with a space where it begins a word; bytes that are no character stay as they are."""
    if style is Style.METASPACE:
        return token.replace("▁", " ")
    if style is Style.WORDPIECE:
        return token.removeprefix(_CONTINUES) if token.startswith(_CONTINUES) else f" {token}"
    try:
        return bytes(BYTE_OF_CHARACTER[character] for character in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return token


def surfaces(vocabulary: Collection[str], *, special: Collection[str] = ()) -> frozenset[str]:
    """Return the texts of a vocabulary's tokens, without the special ones."""
    style, hidden = style_of(vocabulary), frozenset(special)
    return frozenset(surface(token, style) for token in vocabulary if token not in hidden)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the size of the intersection over that of the union, 0 for two empty sets."""
    return _share(len(one & other), len(one | other))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Tokenized:
    """A text's tokens without special ones: their texts, and the characters at which they end (t,)."""

    surfaces: Sequence[str]
    ends: npt.NDArray[np.int64]


class Matching(NamedTuple):
    """How alike two tokenizers cut texts: `positions` are those of the longer list of tokens of each text."""

    positions: int
    #: Share of positions with the same token (the paper's rate): one token more shifts all that follow.
    exact_rate: float
    #: Share of the target's tokens that the source has too, at the same place of the text.
    aligned_rate: float
    #: Share of the target's tokens that end where a source token ends.
    boundary_rate: float


def match_tokens(target: Sequence[Tokenized], source: Sequence[Tokenized]) -> Matching:
    """Compare two tokenizations of the same texts; tokens are the same if their text is, spaces around it apart."""
    positions = same = tokens = aligned = boundaries = 0
    for one, other in zip(target, source, strict=True):
        mine, theirs = ([piece.strip() for piece in side.surfaces] for side in (one, other))
        positions += max(len(mine), len(theirs))
        same += sum(left == right for left, right in zip(mine, theirs, strict=False))
        tokens += len(mine)
        pairs = pair_tokens(one.ends, other.ends, exact=True)
        boundaries += len(pairs.target)
        aligned += sum(
            mine[to] == theirs[from_] for to, from_ in zip(pairs.target.tolist(), pairs.source.tolist(), strict=True)
        )
    return Matching(positions, _share(same, positions), _share(aligned, tokens), _share(boundaries, tokens))


class Fertility(NamedTuple):
    """Into how many tokens texts fall; a word is what stands between white space."""

    tokens_per_word: float
    characters_per_token: float


def fertility(texts: Sequence[str], tokenized: Sequence[Tokenized]) -> Fertility:
    """Return the fertility of a tokenizer on texts."""
    tokens = sum(len(one.ends) for one in tokenized)
    words = sum(len(text.split()) for text in texts)
    return Fertility(_share(tokens, words), _share(sum(map(len, texts)), tokens))


class Outlook(Enum):
    """What the paper's thresholds say of text generated by a pair."""

    PROMISING = "promising"
    UNCERTAIN = "uncertain"
    POOR = "poor"


@dataclass(frozen=True)
class Verdict:
    """An outlook and the reason for it."""

    outlook: Outlook
    reason: str


def verdict(exact_rate: float, parameters: float | None) -> Verdict:
    """Return the outlook of a pair from its rate of exact matches and the size of its smaller model, if it is known."""
    matches = f"exact matches {exact_rate:.2f}"
    weights = "" if parameters is None else f"{parameters / 1e9:.2f} billion weights"
    if exact_rate <= EXACT_FAILS:
        return Verdict(Outlook.POOR, f"{matches}, and the paper's pairs failed at {EXACT_FAILS}")
    if parameters is not None and parameters < PARAMETERS_FAIL:
        return Verdict(Outlook.POOR, f"{weights}, and the paper's pairs below 2 billion failed")
    if exact_rate < EXACT_NEEDED:
        return Verdict(Outlook.UNCERTAIN, f"{matches} lie between {EXACT_FAILS} and {EXACT_NEEDED}")
    if parameters is None:
        return Verdict(Outlook.UNCERTAIN, f"{matches} suffice for models of 4 billion weights")
    if parameters < PARAMETERS_NEEDED or exact_rate < EXACT_SUFFICES:
        return Verdict(Outlook.UNCERTAIN, f"{matches} with {weights} lie at the paper's thresholds")
    return Verdict(Outlook.PROMISING, f"{matches} with {weights}")
