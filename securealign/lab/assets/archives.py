"""Wanted members out of archives that are not trusted to behave: no path outside the target, no link, no bomb."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from securealign.errors import AssetError

_BLOCK = 1 << 20
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60

# RuntimeError: zipfile raises it for encrypted members and unknown compression.
_DAMAGE = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
)

Wanted = Callable[[str], bool]


def extract_members(archive: Path, target: Path, *, root: str, members: tuple[str, ...], max_bytes: int) -> int:
    """Write the members of `archive` below `root` that match a pattern of `members` into `target`; return the bytes.

    Zip (.whl, .zip), tar (.tgz, .tar.gz) and Debian (.deb) archives. Raises `AssetError` for a damaged archive, a
    member that leaves the target or is no regular file, a pattern without a match, and more than `max_bytes` in all.
    """
    prefix = f"{root}/"
    unmatched = set(members)
    left = max_bytes

    def wanted(name: str) -> bool:
        return name.startswith(prefix) and any(fnmatchcase(name.removeprefix(prefix), glob) for glob in members)

    with _damage_reported(archive):
        for name, stream in _members(archive, wanted):
            inner = name.removeprefix(prefix)
            unmatched -= {glob for glob in unmatched if fnmatchcase(inner, glob)}
            path = _inside(target, inner, archive)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                left -= copy_bounded(stream, file, left, archive)
    if unmatched:
        raise _unusable(archive, f"holds no {root}/{min(unmatched)}")
    return max_bytes - left


def append_members(archive: Path, output: IO[bytes], *, pattern: str, max_bytes: int) -> int:
    """Append the members of `archive` whose whole path matches `pattern` to `output`, and return how many bytes."""
    before = output.tell()
    with _damage_reported(archive):
        for _, stream in _members(archive, lambda name: fnmatchcase(name, pattern)):
            copy_bounded(stream, output, max_bytes - (output.tell() - before), archive)
    if output.tell() == before:
        raise _unusable(archive, f"holds no {pattern}")
    return output.tell() - before


def copy_bounded(source: IO[bytes], output: IO[bytes], max_bytes: int, archive: Path) -> int:
    """Copy all of `source` and return how many bytes; raises `AssetError` beyond `max_bytes`."""
    copied = 0
    while block := source.read(_BLOCK):
        copied += len(block)
        # Counted here and not read from the header, which a bomb fills in as it likes.
        if copied > max_bytes:
            raise _unusable(archive, "unpacks to more bytes than its registry entry allows")
        output.write(block)
    return copied


def _inside(target: Path, inner: str, archive: Path) -> Path:
    parts = PurePosixPath(inner).parts
    if inner.startswith("/") or "\\" in inner or ":" in inner or ".." in parts or not parts:
        raise _unusable(archive, f"holds the unsafe path {inner!r}")
    return target.joinpath(*parts)


def _members(archive: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.suffix in {".whl", ".zip"}:
        return _zip_members(archive, wanted)
    if archive.suffix == ".deb":
        return _tar_members(archive, io.BytesIO(_debian_data(archive)), wanted)
    return _tar_members(archive, archive.open("rb"), wanted)


def _zip_members(archive: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            if not info.is_dir() and wanted(info.filename):
                with content.open(info) as stream:
                    yield info.filename, stream


def _tar_members(archive: Path, file: IO[bytes], wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
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
    # A .deb is an `ar` archive of three members (deb(5)); reading it here spares a dependency on dpkg.
    content = archive.read_bytes()
    if not content.startswith(_AR_MAGIC):
        raise _unusable(archive, "is no Debian package")
    position = len(_AR_MAGIC)
    while position + _AR_HEADER <= len(content):
        header = content[position : position + _AR_HEADER]
        size = int(header[48:58])
        start = position + _AR_HEADER
        if header[:16].startswith(b"data.tar"):
            return content[start : start + size]
        position = start + size + size % 2
    raise _unusable(archive, "holds no data.tar")


@contextmanager
def _damage_reported(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _unusable(archive, f"is damaged ({error})") from error


def _unusable(archive: Path, what: str) -> AssetError:
    return AssetError(f"{archive.name} {what}.", hint="Delete it and fetch it again; report it if that does not help.")
