"""Folders of the cache that are complete whenever they are visible.

A folder appears by one rename of a finished one, so a killed or concurrent process leaves nothing half done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from securealign.errors import AssetError

_MARKER = ".complete"


def publish(target: Path, marker: str, build: Callable[[Path], Path]) -> Path:
    """Return `target`, <cache>/<kind>/<name>, made by `build` unless it is there with this marker (ASCII).

    `build` receives an empty temporary folder and returns a folder in it. Raises `AssetError` when the cache cannot be
    written, and what `build` raises.
    """
    if is_published(target, marker):
        return target
    root = target.parent.parent
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="new-") as temporary:
            folder = build(Path(temporary))
            (folder / _MARKER).write_text(marker, encoding="ascii")
            _replace(folder, target, marker, Path(temporary))
    except OSError as error:
        raise AssetError(
            f"{target.name} could not be stored in {root}: {error}.",
            hint="Free space there, or set SECUREALIGN_CACHE to a folder you can write to.",
        ) from error
    return target


def is_published(target: Path, marker: str) -> bool:
    """Return whether the folder is there, finished under this marker."""
    # The marker stands for the hashes checked before: hashing 400 MB at each start would not be free.
    try:
        return (target / _MARKER).read_text(encoding="ascii") == marker
    except (OSError, UnicodeDecodeError):
        return False


def _replace(folder: Path, target: Path, marker: str, temporary: Path) -> None:
    if target.exists() and not is_published(target, marker):
        # Left by a release that made something else; a rename cannot replace a folder with content.
        target.rename(temporary / "outdated")
    try:
        folder.rename(target)
    except OSError:
        # Another process was first with the same content.
        if not is_published(target, marker):
            raise
        shutil.rmtree(folder)
