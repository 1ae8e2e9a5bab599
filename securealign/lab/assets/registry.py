"""The pinned assets: which files of which package registry, with which hash, under which licence, hold what.

Each is a re-upload or a redistribution by somebody, so the hash is the identity: other bytes under the same name and
version are refused.
"""

from __future__ import annotations

from securealign.errors import InputError
from securealign.lab.assets.pinned_models import MODELS
from securealign.lab.assets.pinned_texts import TEXTS
from securealign.lab.assets.pins import Asset, Download, Kind, Terms

__all__ = ["ASSETS", "Asset", "Download", "Kind", "Terms", "asset_named"]

ASSETS = {asset.name: asset for asset in (*MODELS, *TEXTS)}


def asset_named(name: str) -> Asset:
    """Return the pinned asset of this name; raises `InputError` that lists the names."""
    if name not in ASSETS:
        raise InputError(f"There is no asset {name!r}.", hint=f"Use one of: {', '.join(sorted(ASSETS))}.")
    return ASSETS[name]
