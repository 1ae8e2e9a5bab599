"""Pinned assets in the user's cache: downloaded once, checked and unpacked; a folder appears when it is complete.

They are in `<cache>/assets/<name>-<version>/`. `<cache>/supplied/` is where a user without network puts the files by
hand.
"""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from securealign.cache import cache_root, is_published, publish
from securealign.errors import AssetError
from securealign.files import sha256_of
from securealign.lab.assets.archives import append_members, extract_members
from securealign.lab.assets.commands import Runner, download_command, last_lines, run_command
from securealign.lab.assets.registry import Asset, Download, asset_named

MEGABYTE = 1_000_000
_CONSENT = "SECUREALIGN_ACCEPT_TERMS"

logger = logging.getLogger(__name__)


def fetch(asset: Asset | str, *, cache: Path | None = None, run: Runner = run_command) -> Path:
    """Return the folder of a pinned asset, downloading and unpacking it unless it is there.

    Steps are logged. `run` executes the registry's client. Raises `AssetError` when a download fails, has another
    SHA-256 than the pinned one, or cannot be unpacked, or when terms of use are not accepted, and `InputError` for an
    unknown name.
    """
    asset = asset_named(asset) if isinstance(asset, str) else asset
    root = cache if cache is not None else cache_root()
    return publish(_target(asset, root), asset_marker(asset), lambda temporary: _build(asset, root, temporary, run))


def is_fetched(asset: Asset) -> bool:
    """Return whether `fetch` would find the asset in the user's cache."""
    return is_published(_target(asset, cache_root()), asset_marker(asset))


def _target(asset: Asset, root: Path) -> Path:
    return root / "assets" / f"{asset.name}-{asset.version}"


def asset_marker(asset: Asset) -> str:
    """Return what identifies the content of the asset's folder, in hexadecimal."""
    # Over the whole entry: a release that takes other members from the same files must unpack them anew.
    own = [(download.root, download.members) for download in asset.downloads if download.members is not None]
    return hashlib.sha256((repr(asset) + (repr(own) if own else "")).encode()).hexdigest()


def _build(asset: Asset, root: Path, temporary: Path, run: Runner) -> Path:
    require_consent(asset)
    files = [_obtain(download, root, temporary, run) for download in asset.downloads]
    folder = temporary / "unpacked"
    folder.mkdir()
    logger.info("unpacking %s", asset.name)
    if asset.pieces is not None:
        joined, room = temporary / "joined.zip", asset.max_bytes
        with joined.open("wb") as output:
            for file in files:
                room -= append_members(file, output, pattern=asset.pieces, max_bytes=room)
        extract_members(joined, folder, root=asset.root, members=asset.members, max_bytes=asset.max_bytes)
        return folder
    left = asset.max_bytes
    for file, download in zip(files, asset.downloads, strict=True):
        chosen_root, members = download.root or asset.root, download.members or asset.members
        left -= extract_members(file, folder, root=chosen_root, members=members, max_bytes=left)
    return folder


def has_consent(asset: Asset | str) -> bool:
    """Return whether an asset is under no terms of use, or the user has accepted them in $SECUREALIGN_ACCEPT_TERMS."""
    asset = asset_named(asset) if isinstance(asset, str) else asset
    accepted = {name.strip() for name in os.environ.get(_CONSENT, "").split(",")}
    return asset.terms is None or asset.name in accepted


def require_consent(asset: Asset) -> None:
    """Raise `AssetError` unless `has_consent`."""
    if asset.terms is not None and not has_consent(asset):
        raise AssetError(
            f"{asset.name} is under the {asset.terms.name}, which you have not accepted; nothing was fetched.",
            hint=f"Read {asset.terms.text}; to accept them, set {_CONSENT}={asset.name} (several names with commas).",
        )


def _obtain(download: Download, root: Path, temporary: Path, run: Runner) -> Path:
    supplied = root / "supplied" / download.filename
    if supplied.is_file():
        _check(supplied, download, supplied)
        return supplied
    logger.info("downloading %s %s (%.0f MB)", download.package, download.version, download.size / MEGABYTE)
    folder = temporary / download.package.replace("/", "-")
    folder.mkdir()
    command = download_command(download, folder)
    outcome = run(command, lambda: _report(download, folder))
    file = folder / download.filename
    if outcome.status != 0 or not file.is_file():
        raise AssetError(
            f"`{' '.join(command.arguments)}` did not deliver {download.filename}:\n{last_lines(outcome.output)}\n",
            hint=f"Check the network and the client's settings, or put the file into {supplied.parent} by hand.",
        )
    _check(file, download, supplied)
    return file


def _report(download: Download, folder: Path) -> None:
    """Log how much of a download is in the folder of its command, as far as the registry's client shows it there."""
    done = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # the client has removed it since
                done += Path(parent, name).stat().st_size
    # npm keeps an unfinished download elsewhere.
    known = f"{min(done, download.size) / MEGABYTE:.0f} of " if done >= MEGABYTE else ""
    logger.info("still downloading %s: %s%.0f MB", download.package, known, download.size / MEGABYTE)


def _check(file: Path, download: Download, supplied: Path) -> None:
    digest = sha256_of(file)
    if digest != download.sha256:
        raise AssetError(
            f"{file} has the SHA-256 {digest}, not the pinned {download.sha256}; it was not opened.",
            hint=f"Find out who changed it; a file with the pinned hash can be put at {supplied}.",
        )
