"""Saved maps and heads: a folder with one safetensors file and a JSON manifest that names it by hash. Never pickle."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from securealign.errors import FileError, InputError
from securealign.files import write_atomically

MANIFEST = "manifest.json"
_TENSORS = ".safetensors"
_FORMAT = 1
#: Digits of its hash that name a file of tensors.
_NAME = "[0-9a-f]{16}"

Tensors = dict[str, npt.NDArray[np.float64]]


def save_artifact(folder: str | Path, kind: str, tensors: Tensors, metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and `metadata` as an artifact of `kind`; the manifest comes last and makes it valid."""
    folder = Path(folder)
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    # Named by its hash, so that the artifact that is being replaced stays whole until the manifest is.
    file = f"{digest[:16]}{_TENSORS}"
    manifest = {
        **metadata,
        "format": _FORMAT,
        "kind": kind,
        "tensors": {"file": file, "sha256": digest},
    }
    write_atomically(folder / file, data)
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    for stale in folder.glob(f"*{_TENSORS}"):
        if stale.name != file:
            stale.unlink()


def check_target(folder: str | Path, kind: str) -> None:
    """Raise `InputError` unless an artifact of `kind` can be written to `folder`: a new or empty one, or one of these.

    Writing removes tensors that the new manifest does not name, so a folder of anything else must not be given.
    """
    folder = Path(folder)
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise FileError(
            f"{folder} cannot be written: {above} is {'not writable' if above.is_dir() else 'a file'}.",
            hint="Name a folder that is new, empty or yours.",
        )
    if not folder.exists() or not any(folder.iterdir()):
        return
    if any(re.fullmatch(_NAME, path.stem) is None for path in folder.glob(f"*{_TENSORS}")) or _kind_in(folder) != kind:
        raise FileError(
            f"{folder} holds something else than a {kind}.",
            hint="Name another folder, or empty it if nothing in it is needed.",
        )


def _kind_in(folder: Path) -> object:
    """Return the kind of artifact that a folder's manifest names, None without one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest.get("kind") if isinstance(manifest, dict) else None


def load_artifact(folder: str | Path, kind: str) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and the metadata of an artifact.

    Raises `InputError` when a file is missing, of another kind, or does not have the hash that the manifest names.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _invalid(folder, kind, _cause(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT or manifest.get("kind") != kind:
        raise _invalid(folder, kind, "the manifest is of another kind or format")
    named = manifest.get("tensors")
    digest = named.get("sha256") if isinstance(named, dict) else None
    if not isinstance(digest, str) or re.fullmatch("[0-9a-f]{64}", digest) is None:
        raise _invalid(folder, kind, "the manifest names no tensors")
    try:
        data = (folder / f"{digest[:16]}{_TENSORS}").read_bytes()
    except (OSError, ValueError) as error:
        raise _invalid(folder, kind, _cause(error)) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _invalid(folder, kind, "the tensors do not have the hash in the manifest")
    try:
        tensors = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise _invalid(folder, kind, str(error)) from error
    if not all(array.dtype == np.float64 and np.isfinite(array).all() for array in tensors.values()):
        raise _invalid(folder, kind, "a tensor is not float64 or not finite")
    return tensors, {key: value for key, value in manifest.items() if key not in {"format", "kind", "tensors"}}


def _cause(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {error.filename}"
    return f"{type(error).__name__}: {error}"


def _invalid(folder: Path, kind: str, reason: str) -> InputError:
    made_by = {"alignment": "Run 'securealign-client align' first", "head": "Make it with 'securealign head'"}
    return FileError(
        f"{folder} is not a saved {kind}: {reason}.",
        hint=f"{made_by.get(kind, 'Save it again')}, or point to the folder that holds it.",
    )
