"""Files: written so that a crash leaves the old content or the whole new content, and their hashes."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from securealign.errors import ErrorCode, InputError

_BLOCK = 1 << 20


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data` with permission bits `mode`, creating parent folders; durable when it returns.

    A file that root replaces keeps its owner, so that the party that runs as another user can still read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            _keep_owner(path, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_durably(Path(name), path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A full disk is an error of a write, which names no file.
            error.filename = str(path)
        raise


def _keep_owner(path: Path, descriptor: int) -> None:
    if os.geteuid() != 0 or not path.exists():
        return
    before = path.stat()
    # A container may have taken this right from root.
    with suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist; durable when it returns. Raises `FileExistsError`, and leaves no half file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def require_new(path: Path) -> None:
    """Raise `InputError` for a file that cannot be made because it exists, or its folder does not."""
    if path.exists() or path.is_symlink():
        raise InputError(
            f"{path} already exists and is not replaced.",
            hint="Name another file, or move it away.",
            code=ErrorCode.FILE_INVALID,
        )
    if not path.parent.is_dir():
        raise InputError(
            f"There is no folder {path.parent}.", hint="Make it, or name another file.", code=ErrorCode.FILE_INVALID
        )


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content, which is read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def replace_durably(new: Path, path: Path) -> None:
    """Put a file that is on disk in the place of `path`, in the same folder; durable when it returns."""
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder durable, not only their contents."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
