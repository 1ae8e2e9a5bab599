"""Embeddings computed elsewhere, from files that cannot execute code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from securealign.errors import ErrorCode, InputError
from securealign.models.encoder import check_finite
from securealign.models.optional import require

_BLOCK_BYTES = 1 << 24


def load_embeddings(path: str | Path, *, key: str | None = None) -> NDArray[np.floating[Any]]:
    """Return the matrix (n, d) of an .npy (memory-mapped), .npz or .safetensors file, in the file's float type.

    `key` names the array in a file of several. Raises `InputError` for an unreadable file, another shape or type, and,
    with `NON_FINITE_INPUT`, for NaN or infinite values.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _invalid(path, "is no known kind of array file", f"Name it {', '.join(_READERS)}.")
    try:
        matrix = reader(path, key)
    except (OSError, ValueError, EOFError, BadZipFile, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise _invalid(path, f"cannot be read: {reason}", "Write it with numpy.save or safetensors again.") from error
    _check_matrix(path, matrix)
    return matrix


def _check_matrix(path: Path, matrix: NDArray[Any]) -> None:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise _invalid(path, f"holds the shape {matrix.shape}", "Give one row a text and one column a dimension.")
    if not np.issubdtype(matrix.dtype, np.floating):
        raise _invalid(path, f"holds {matrix.dtype}, not floating-point numbers", "Convert it to float32.")
    rows = max(1, _BLOCK_BYTES // (matrix.shape[1] * matrix.dtype.itemsize))
    # By blocks, so that checking a mapped file does not read all of it into memory at once.
    for start in range(0, matrix.shape[0], rows):
        check_finite(matrix[start : start + rows], start, str(path))


def _read_npy(path: Path, key: str | None) -> NDArray[Any]:
    if key is not None:
        raise _invalid(path, f"holds one array and so no key {key!r}", "Leave the key out.")
    # numpy.load would go by the content and return another kind of object for a zip file; this one never unpickles.
    array: NDArray[Any] = open_memmap(path, mode="r")
    return array


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, NpzFile):
            raise ValueError("it is no .npz file")
        array: NDArray[Any] = content[_choose(path, content.files, key)]
    return array


def _read_safetensors(path: Path, key: str | None) -> NDArray[Any]:
    safetensors = require("safetensors", "A .safetensors file")
    try:
        with safetensors.safe_open(path, framework="np") as content:
            array: NDArray[Any] = content.get_tensor(_choose(path, list(content.keys()), key))
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    return array


def _choose(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        what = "holds several arrays" if key is None else f"holds no array {key!r}"
        raise _invalid(path, what, f"Give one of these keys: {', '.join(names)}.")
    return key


def _invalid(path: Path, what: str, hint: str) -> InputError:
    return InputError(f"{path} {what}.", hint=hint, code=ErrorCode.FILE_INVALID)


_READERS: dict[str, Callable[[Path, str | None], NDArray[Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
