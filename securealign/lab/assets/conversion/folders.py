"""Folders of converted models in the cache, each made once; it appears when it is complete."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from securealign.cache import cache_root, is_published, publish
from securealign.errors import AssetError, ErrorCode
from securealign.lab.assets.files import asset_marker, fetch
from securealign.lab.assets.registry import asset_named

logger = logging.getLogger(__name__)

Convert = Callable[[Sequence[Path], Path], None]
"""Writes a model folder, which is empty, from the folders of the assets."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a built-in model is made: from these assets, the first of which names it, by `convert`.

    A change of what `convert` writes needs another `revision`, or folders made before would be kept.
    """

    assets: tuple[str, ...]
    convert: Convert
    revision: int = 1


def converted_folder(recipe: Recipe, *, cache: Path | None = None) -> Path:
    """Return <cache>/converted/<name>-<version>, made unless it is there; raises `AssetError`, `DependencyError`."""
    assets = [asset_named(name) for name in recipe.assets]
    named = assets[0]

    def build(temporary: Path) -> Path:
        sources = [fetch(asset, cache=cache) for asset in assets]
        size = sum(path.stat().st_size for path in sources[0].iterdir())
        logger.info("converting %s (%.0f MB), once", named.name, size / 1e6)
        folder = temporary / named.name
        folder.mkdir()
        recipe.convert(sources, folder)
        for path in folder.rglob("*"):
            # safetensors writes files that only their owner can read; these models are public.
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        return folder

    return publish(*_place(recipe, cache if cache is not None else cache_root()), build)


def is_converted(recipe: Recipe) -> bool:
    """Return whether `converted_folder` would find the folder in the user's cache."""
    return is_published(*_place(recipe, cache_root()))


def _place(recipe: Recipe, root: Path) -> tuple[Path, str]:
    """Return where the folder is, and the marker under which it is finished."""
    assets = [asset_named(name) for name in recipe.assets]
    origin = "".join(asset_marker(asset) for asset in assets)
    marker = hashlib.sha256(f"{origin} {recipe.revision}".encode()).hexdigest()
    return root / "converted" / f"{assets[0].name}-{assets[0].version}", marker


def unusable(message: str, hint: str = "Delete its folder.") -> AssetError:
    """Return the error for a file of an asset that cannot be converted."""
    return AssetError(message, hint=hint, code=ErrorCode.FILE_INVALID)
