"""The pinned assets of `assets.toml`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import resources

from pydantic import TypeAdapter

from securealign.errors import InputError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    # Not in the repr: the marker of a complete folder is a hash of the repr, and most downloads have neither.
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


_TABLES = tomllib.loads((resources.files(__package__) / "assets.toml").read_text(encoding="utf-8"))
ASSETS: Mapping[str, Asset] = TypeAdapter(dict[str, Asset]).validate_python(
    {name: {"name": name, **entry} for name, entry in _TABLES.items()}
)


def asset_named(name: str) -> Asset:
    """Return the pinned asset of this name; raises `InputError` that lists the names."""
    if name not in ASSETS:
        raise InputError(
            f"There is no asset {name!r}.", hint=f"{did_you_mean(name, ASSETS)}Use one of: {', '.join(sorted(ASSETS))}."
        )
    return ASSETS[name]
