"""Which texts were in the public data sets that a provider has served, so that charges follow the rows.

rows/DIGEST.rows        0600; SHA-256 of each text, cut to 16 bytes, in the order of the rows
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.errors import KeyStoreError
from securealign.files import write_atomically
from securealign.protocol.policy.accounts import SharedRows

_BYTES = 16
#: Data sets that are remembered besides the one now served; of 2^20 texts, each takes 16 MiB.
MOST_DATASETS = 64

Identities = NDArray[np.bytes_]


def row_identities(texts: Sequence[str]) -> Identities:
    """Return an identity (N,) of 16 bytes for each text."""
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:_BYTES] for text in texts)
    return np.frombuffer(digests, dtype=f"S{_BYTES}")


class PublicRows:
    """The identities of rows by the digest of their data set, in a folder that one process may change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def serve(self, digest: bytes, identities: Identities, charged: Collection[str]) -> tuple[SharedRows, ...]:
        """Remember the data set now served, and return the earlier ones that share rows with it.

        `charged` has the digests of data sets over which peers were charged; others are forgotten, and so are those
        that were served longest ago beyond `MOST_DATASETS`. Raises `KeyStoreError` for a file that is damaged.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path(digest.hex()), identities.tobytes(), mode=0o600)
        files = [file for file in self._folder.glob("*.rows") if file != self._path(digest.hex())]
        kept = [file for file in sorted(files, key=lambda file: -file.stat().st_mtime_ns) if file.stem in charged]
        for file in set(files) - set(kept[:MOST_DATASETS]):
            file.unlink()
        shared = (_shared(file, identities) for file in kept[:MOST_DATASETS])
        return tuple(other for other in shared if other.common)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.rows"


def _shared(file: Path, identities: Identities) -> SharedRows:
    content = file.read_bytes()
    if not content or len(content) % _BYTES:
        raise KeyStoreError(
            f"{file} was cut short.",
            hint="Restore it from a backup of the state folder: without it, what clients were charged over its texts "
            "is forgotten where other data sets share them.",
        )
    earlier = np.frombuffer(content, dtype=f"S{_BYTES}")
    common = np.isin(identities, earlier)
    mask = int.from_bytes(np.packbits(common, bitorder="little").tobytes(), "little")
    return SharedRows(bytes.fromhex(file.stem), len(earlier), mask)
