"""Model folders from a hub id, through the hub's own client and its cache."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from securealign.errors import AssetError
from securealign.models.pretrained import first_line
from securealign.models.quiet import quiet
from securealign.optional import require

logger = logging.getLogger(__name__)

_PURPOSE = "A model from the hub"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w.-]+)?", re.ASCII)

# Neither pickles nor code are downloaded, so neither can be loaded by mistake.
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "*/onnx/*"]


def is_hub_id(spec: str) -> bool:
    """Return whether `spec` has the form of a hub id, "organisation/model" with an optional "@revision"."""
    return _HUB_ID.fullmatch(spec) is not None


def hub_folder(spec: str, *, code: bool = False) -> Path:
    """Return the local folder of a hub model, downloading what is missing, with the model's `code` only if asked.

    Raises `AssetError` if that fails.
    """
    hub = require("huggingface_hub", _PURPOSE)
    identifier, _, revision = spec.partition("@")
    wanted = [*_WANTED, "*.py"] if code else _WANTED
    try:
        with quiet():
            if not _is_cached(hub, identifier, revision):
                logger.info("fetching %s from the hub, once", spec)
            folder = hub.snapshot_download(
                identifier,
                revision=revision or None,
                allow_patterns=wanted,
                ignore_patterns=_UNWANTED,
            )
    # The hub's client raises these two for failed connections, HTTP errors, missing files and invalid ids.
    except (OSError, ValueError) as error:
        raise AssetError(
            f"The hub model {spec!r} could not be fetched: {first_line(error)}",
            hint="Check the id and the network, or give the folder of a downloaded model.",
        ) from error
    return Path(folder)


def _is_cached(hub: Any, identifier: str, revision: str) -> bool:  # noqa: ANN401 - the hub's client is optional
    try:
        hub.snapshot_download(identifier, revision=revision or None, local_files_only=True)
    except (OSError, ValueError):
        return False
    return True
