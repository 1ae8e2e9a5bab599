"""The user's cache: where it is, and folders that appear in it only when they are complete."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from securealign.errors import AssetError

_MARKER = ".complete"


def cache_root() -> Path:
    """Return the cache folder: $SECUREALIGN_CACHE, or ~/.cache/securealign."""
    chosen = os.environ.get("SECUREALIGN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "securealign"


def publish(target: Path, marker: str, build: Callable[[Path], Path]) -> Path:
    """Return `target`, <cache>/<kind>/<name>, made by `build` unless it is there with this marker (ASCII).

    `build` receives an empty temporary folder and returns a folder in it. The target appears by one rename, so a killed
    or concurrent process leaves nothing half done. Raises `AssetError` when the cache cannot be written, and what
    `build` raises.
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
    # The marker stands for the hashes that were checked when the folder was made: hashing 400 MB at each start is slow.
    try:
        return (target / _MARKER).read_text(encoding="ascii") == marker
    except (OSError, UnicodeDecodeError):
        return False


def _replace(folder: Path, target: Path, marker: str, temporary: Path) -> None:
    if target.exists() and not is_published(target, marker):
        # A folder of another release: a rename cannot replace a folder that holds files.
        target.rename(temporary / "outdated")
    try:
        folder.rename(target)
    except OSError:
        # Another process published the same content first.
        if not is_published(target, marker):
            raise
        shutil.rmtree(folder)
