"""Model folders from a hub id, through the hub's own client and its cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securealign.errors import AssetError
from securealign.models.optional import require

_PURPOSE = "A model from the hub"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w.-]+)?", re.ASCII)

# No pickles and no code: what is not downloaded cannot be loaded by mistake.
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "*/onnx/*"]


def is_hub_id(spec: str) -> bool:
    """Return whether `spec` has the form of a hub id, "organisation/model" with an optional "@revision"."""
    return _HUB_ID.fullmatch(spec) is not None


def hub_folder(spec: str) -> Path:
    """Return the local folder of a hub model, downloading what is missing; raises `AssetError` if that fails."""
    hub = require("huggingface_hub", _PURPOSE)
    identifier, _, revision = spec.partition("@")
    try:
        with _quiet():
            folder = hub.snapshot_download(
                identifier, revision=revision or None, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
    # Every failure of the hub's client is one of these: connections and HTTP, missing entries, invalid ids.
    except (OSError, ValueError) as error:
        raise AssetError(
            f"The hub model {spec!r} could not be fetched: {_first_line(error)}",
            hint="Check the id and the network, or give the folder of a downloaded model.",
        ) from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    utilities = require("huggingface_hub.utils", _PURPOSE)
    if utilities.are_progress_bars_disabled():
        yield
        return
    utilities.disable_progress_bars()
    try:
        yield
    finally:
        utilities.enable_progress_bars()
