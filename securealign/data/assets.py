"""Pinned assets in the user's cache: fetched once, checked, unpacked, and complete whenever they are visible.

`<cache>/assets/<name>-<version>/` appears by one rename of a finished folder, so a killed or concurrent fetch leaves
nothing half done. `<cache>/supplied/` is where a user without network puts the files by hand.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from securealign.data.archives import append_members, extract_members
from securealign.data.commands import Runner, download_command, last_lines, run_command
from securealign.data.registry import Asset, Download, asset_named
from securealign.errors import AssetError

_BLOCK = 1 << 20
_MARKER = ".complete"

Progress = Callable[[str], None]


def cache_root() -> Path:
    """Return the cache folder: $SECUREALIGN_CACHE, or ~/.cache/securealign."""
    chosen = os.environ.get("SECUREALIGN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "securealign"


def fetch(
    asset: Asset | str, *, cache: Path | None = None, progress: Progress | None = None, run: Runner = run_command
) -> Path:
    """Return the folder of a pinned asset, downloading and unpacking it unless it is there.

    `progress` receives a line of text a step. `run` executes the registry's client. Raises `AssetError` when a download
    fails, has another SHA-256 than the pinned one, or cannot be unpacked, and `InputError` for an unknown name.
    """
    asset = asset_named(asset) if isinstance(asset, str) else asset
    root = cache if cache is not None else cache_root()
    target = root / "assets" / f"{asset.name}-{asset.version}"
    if _is_complete(target, asset):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="fetch-") as temporary:
            folder = _build(asset, root, Path(temporary), progress or (lambda _line: None), run)
            (folder / _MARKER).write_text(_marker(asset), encoding="ascii")
            _publish(folder, target, asset, Path(temporary))
    except OSError as error:
        raise AssetError(
            f"The asset {asset.name} could not be stored in {root}: {error}.",
            hint="Free space there, or set SECUREALIGN_CACHE to a folder you can write to.",
        ) from error
    return target


def _marker(asset: Asset) -> str:
    # Over the whole entry: a release that takes other members from the same files must unpack them anew.
    return hashlib.sha256(repr(asset).encode()).hexdigest()


def _is_complete(target: Path, asset: Asset) -> bool:
    # The marker stands for the hashes checked before unpacking: hashing 400 MB at each start would not be free.
    try:
        return (target / _MARKER).read_text(encoding="ascii") == _marker(asset)
    except (OSError, UnicodeDecodeError):
        return False


def _build(asset: Asset, root: Path, temporary: Path, progress: Progress, run: Runner) -> Path:
    files = [_obtain(download, root, temporary, progress, run) for download in asset.downloads]
    folder = temporary / "unpacked"
    folder.mkdir()
    progress(f"unpacking {asset.name}")
    if asset.pieces is not None:
        files = [_join(files, asset.pieces, temporary / "joined.zip", asset.max_bytes)]
    for file in files:
        extract_members(file, folder, root=asset.root, members=asset.members, max_bytes=asset.max_bytes)
    return folder


def _join(files: list[Path], pattern: str, joined: Path, max_bytes: int) -> Path:
    with joined.open("wb") as output:
        for file in files:
            max_bytes -= append_members(file, output, pattern=pattern, max_bytes=max_bytes)
    return joined


def _obtain(download: Download, root: Path, temporary: Path, progress: Progress, run: Runner) -> Path:
    supplied = root / "supplied" / download.filename
    if supplied.is_file():
        _check(supplied, download, supplied)
        return supplied
    progress(f"downloading {download.package} {download.version} ({download.size / 1e6:.0f} MB)")
    folder = temporary / download.package.replace("/", "-")
    folder.mkdir()
    command = download_command(download, folder)
    outcome = run(command)
    file = folder / download.filename
    if outcome.status != 0 or not file.is_file():
        raise AssetError(
            f"`{' '.join(command.arguments)}` did not deliver {download.filename}:\n{last_lines(outcome.output)}\n",
            hint=f"Check the network and the client's settings, or put the file into {supplied.parent} by hand.",
        )
    _check(file, download, supplied)
    return file


def _check(file: Path, download: Download, supplied: Path) -> None:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != download.sha256:
        raise AssetError(
            f"{file} has the SHA-256 {digest.hexdigest()}, not the pinned {download.sha256}; it was not opened.",
            hint=f"Find out who changed it; a file with the pinned hash can be put at {supplied}.",
        )


def _publish(folder: Path, target: Path, asset: Asset, temporary: Path) -> None:
    if target.exists() and not _is_complete(target, asset):
        # Left by a release that pinned something else; a rename cannot replace a folder with content.
        target.rename(temporary / "outdated")
    try:
        folder.rename(target)
    except OSError:
        # Another process was first with the same content.
        if not _is_complete(target, asset):
            raise
        shutil.rmtree(folder)
