"""What a pin says: which files of which package registry make up an asset, with which hash, under which licence."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

MEGABYTE = 1_000_000


class Kind(Enum):
    """The registry that serves a download, and so the program that fetches it."""

    WHEEL = "wheel"
    SDIST = "sdist"
    NPM = "npm"
    DEBIAN = "debian"


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file of a registry; `tag` is (platform, Python version, ABI) of a wheel that exists for several.

    `root` and `members`, if given, stand for the asset's in this file.
    """

    kind: Kind
    package: str
    version: str
    filename: str
    size: int
    sha256: str
    tag: tuple[str, str, str] | None = None
    # Out of the repr, over which a folder is marked as complete, where most entries have nothing to say.
    root: str | None = field(default=None, repr=False)
    members: tuple[str, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms of use that the user must accept before anything is fetched, and where their text is to be read."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A folder made of downloads: the members (glob patterns below `root`) of each, at most `max_bytes` in all.

    With `pieces`, the downloads hold a cut archive: the members matching that pattern are joined in order, and
    `root` and `members` speak of the joined archive.
    """

    name: str
    version: str
    downloads: tuple[Download, ...]
    root: str
    members: tuple[str, ...]
    max_bytes: int
    licence: str
    holds: str
    pieces: str | None = None
    terms: Terms | None = field(default=None, repr=False)
