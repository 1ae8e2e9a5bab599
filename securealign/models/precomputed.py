"""Embeddings computed elsewhere, from files that cannot execute code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from securealign.errors import ErrorCode, InputError
from securealign.matrices import release_pages
from securealign.models.encoder import check_finite
from securealign.optional import require

_BLOCK_BYTES = 1 << 24
_SHOWN = 20
#: What safetensors calls the types that are read.
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})


def load_embeddings(path: str | Path, *, key: str | None = None) -> NDArray[np.floating[Any]]:
    """Return the matrix (n, d) of an .npy (memory-mapped), .npz or .safetensors file, in the file's float type.

    `key` names the array in a file of several, and so does a path such as "file.npz:key". bfloat16 is widened to
    float32, which holds it exactly. Raises `InputError` for an unreadable file, another shape or type, and, with
    `NON_FINITE_INPUT`, for NaN or infinite values.
    """
    path, named = split_key(path)
    if key is None:
        key = named
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


def split_key(path: str | Path) -> tuple[Path, str | None]:
    """Return the file and the key that a path such as "file.npz:key" names; a file that exists is no such path."""
    text = str(path)
    if Path(path).exists():
        return Path(path), None
    ends = [match.end() for match in re.finditer(_KEYED, text)]
    # Names of folders and keys may hold colons too, so the file that is there decides.
    end = next((end for end in ends if Path(text[: end - 1]).is_file()), ends[0] if ends else None)
    return (Path(path), None) if end is None else (Path(text[: end - 1]), text[end:])


def is_array_file(path: str | Path) -> bool:
    """Return whether a path is named like a file of embeddings, with or without a key."""
    return split_key(path)[0].suffix.lower() in _READERS


def _check_matrix(path: Path, matrix: NDArray[Any]) -> None:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise _invalid(path, f"holds the shape {matrix.shape}", "Give one row a text and one column a dimension.")
    if not np.issubdtype(matrix.dtype, np.floating):
        raise _no_floats(path, str(matrix.dtype))
    rows = max(1, _BLOCK_BYTES // (matrix.shape[1] * matrix.dtype.itemsize))
    # By blocks, so that checking a mapped file does not read all of it into memory at once.
    for start in range(0, matrix.shape[0], rows):
        check_finite(matrix[start : start + rows], start, str(path))
        release_pages(matrix)


def _read_npy(path: Path, key: str | None) -> NDArray[Any]:
    if key is not None:
        raise _invalid(path, f"holds one array and so no key {key!r}", "Leave the key out.")
    # numpy.load would open a zip file by its content; open_memmap reads .npy only, and never unpickles.
    array: NDArray[Any] = open_memmap(path, mode="r")
    return array


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, NpzFile):
            raise ValueError("it is no .npz file")
        array: NDArray[Any] = content[_choose(path, content.files, key)]
    return array


def read_safetensors(path: Path, key: str | None) -> NDArray[Any]:
    """Return one tensor of a file, of any shape.

    Raises `InputError` for one that is not there or holds no floating-point numbers, `ValueError` for a damaged file.
    """
    safetensors = require("safetensors", "A .safetensors file")
    try:
        with safetensors.safe_open(path, framework="np") as content:
            name = _choose(path, list(content.keys()), key)
            kind = content.get_slice(name).get_dtype()
            if kind not in _FLOATS:
                raise _no_floats(path, kind)
            array: NDArray[Any] = _read_bfloat16(path, name) if kind == "BF16" else content.get_tensor(name)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    return array


def _read_bfloat16(path: Path, name: str) -> NDArray[np.float32]:
    """Return a bfloat16 tensor as float32; numpy has no such type. safetensors has checked the file before."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))[name]
        start, stop = entry["data_offsets"]
        file.seek(8 + size + start)
        halves = np.frombuffer(file.read(stop - start), dtype="<u2")
    # A bfloat16 is the upper half of a float32.
    matrix: NDArray[np.float32] = (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    return matrix


def _choose(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        what = f"holds no array {key!r}" if key is not None else f"holds {'several' if names else 'no'} arrays"
        shown = " or ".join(f"{path}:{name}" for name in names[:_SHOWN])
        raise _invalid(path, what, f"Name one: {shown}." if names else "Write one array into it.")
    return key


def _no_floats(path: Path, kind: str) -> InputError:
    return _invalid(path, f"holds {kind}, not floating-point numbers of 16 to 64 bits", "Convert it to float32.")


def _invalid(path: Path, what: str, hint: str) -> InputError:
    return InputError(f"{path} {what}.", hint=hint, code=ErrorCode.FILE_INVALID)


_READERS: dict[str, Callable[[Path, str | None], NDArray[Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": read_safetensors,
}
_KEYED = re.compile(rf"(?:{'|'.join(map(re.escape, _READERS))}):(?=.)", re.IGNORECASE)
