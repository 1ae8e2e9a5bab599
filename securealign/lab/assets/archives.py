"""Members of archives that may be hostile: no path outside the target, no link, no more bytes than allowed."""

import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from securealign.errors import AssetError

_BLOCK = 1 << 20
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60

# RuntimeError: zipfile raises it for encrypted members and unknown compression.
_BROKEN = (zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, lzma.LZMAError, zlib.error)
_DAMAGE = (*_BROKEN, EOFError, ValueError, RuntimeError)

Wanted = Callable[[str], bool]


def extract_members(archive: Path, target: Path, *, root: str, members: tuple[str, ...], max_bytes: int) -> int:
    """Write the members of `archive` below `root` that match a pattern of `members` into `target`; return the bytes.

    Zip (.whl, .zip), tar (.tgz, .tar.gz) and Debian (.deb) archives. Raises `AssetError` for a damaged archive, a
    member that leaves the target or is no regular file, a pattern without a match, and more than `max_bytes` in all.
    """
    unmatched = {f"{root}/{glob}" for glob in members}
    left = max_bytes
    with _damage_reported(archive):
        for name, stream in _members(archive, sorted(unmatched)):
            unmatched -= {glob for glob in unmatched if fnmatchcase(name, glob)}
            inner = name.removeprefix(f"{root}/")
            parts = PurePosixPath(inner).parts
            if inner.startswith("/") or "\\" in inner or ":" in inner or ".." in parts or not parts:
                raise _unusable(archive, f"holds the unsafe path {inner!r}")
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                left -= _copy(stream, file, left, archive)
    if unmatched:
        raise _unusable(archive, f"holds no {min(unmatched)}")
    return max_bytes - left


def append_members(archive: Path, output: IO[bytes], *, pattern: str, max_bytes: int) -> int:
    """Append the members of `archive` whose whole path matches `pattern` to `output`, and return how many bytes."""
    copied = 0
    with _damage_reported(archive):
        for _, stream in _members(archive, [pattern]):
            copied += _copy(stream, output, max_bytes - copied, archive)
    if not copied:
        raise _unusable(archive, f"holds no {pattern}")
    return copied


def _copy(source: IO[bytes], output: IO[bytes], max_bytes: int, archive: Path) -> int:
    copied = 0
    while block := source.read(_BLOCK):
        copied += len(block)
        # Counted here: the size in the header of a bomb is whatever its author wrote there.
        if copied > max_bytes:
            raise _unusable(archive, "unpacks to more bytes than its registry entry allows")
        output.write(block)
    return copied


def _members(archive: Path, globs: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the path and the content of each file that matches one of the patterns."""
    opened = _zip_members if archive.suffix in {".whl", ".zip"} else _tar_members
    return opened(archive, lambda name: any(fnmatchcase(name, glob) for glob in globs))


def _zip_members(archive: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            if not info.is_dir() and wanted(info.filename):
                with content.open(info) as stream:
                    yield info.filename, stream


def _tar_members(archive: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    file = io.BytesIO(_debian_data(archive)) if archive.suffix == ".deb" else archive.open("rb")
    with file, tarfile.open(fileobj=file, mode="r:*") as content:
        for info in content:
            name = info.name.removeprefix("./")
            if info.isdir() or not wanted(name):
                continue
            stream = content.extractfile(info) if info.isfile() else None
            if stream is None:
                raise _unusable(archive, f"holds {name!r}, which is no regular file")
            yield name, stream


def _debian_data(archive: Path) -> bytes:
    """Return the tar archive in a Debian package, which is an `ar` archive of three members (deb(5))."""
    with archive.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise _unusable(archive, "is no Debian package")
        while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return file.read(size)
            file.seek(size + size % 2, os.SEEK_CUR)
    raise _unusable(archive, "holds no data.tar")


@contextmanager
def _damage_reported(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _unusable(archive, f"is damaged ({error})") from error


def _unusable(archive: Path, what: str) -> AssetError:
    return AssetError(f"{archive.name} {what}.", hint="Delete it and fetch it again; report it if that does not help.")
