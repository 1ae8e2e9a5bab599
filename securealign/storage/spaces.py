"""The provider's private coordinates on disk: as secret as its head, made once for an encoder and its public texts.

spaces/NAME/            0700
  HASH.space            sealed; the hash names encoder, public texts and whether privacy keeps the rows out of it
  current               the name of the file in use, for processes that serve inference only
  head.salt             sealed; what the digests of heads are salted with
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from securealign.alignment.coordinates import Space
from securealign.alignment.scaling import Scaling
from securealign.errors import ConfigurationError, ErrorCode, KeyStoreError
from securealign.files import write_atomically
from securealign.he.entropy import Entropy
from securealign.limits import DIGEST_BYTES
from securealign.storage.folder import Sealers

_FORMAT = 1
_CURRENT = "current"
_SALT = "head.salt"


class Origin(NamedTuple):
    """What a space belongs to: the encoder's fingerprint, the digest of the public texts, and whether it is private."""

    encoder: str
    dataset_digest: str
    private: bool

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{hashlib.sha256(json.dumps(self).encode()).hexdigest()[:32]}.space"


class SpaceFolder:
    """The spaces of one name."""

    def __init__(self, folder: Path, sealers: Sealers) -> None:
        self._folder, self._sealers = folder, sealers

    def find(self, origin: Origin) -> Space | None:
        """Return the space of an origin, None if there is none; raises `KeyStoreError` if it cannot be opened."""
        if not (self._folder / origin.file).exists():
            return None
        return self._read(origin.file, origin)

    def current(self) -> Space:
        """Return the space in use; raises `ConfigurationError` when none was made."""
        try:
            name = (self._folder / _CURRENT).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"There is no space in {self._folder}: clients' maps lead into one that training makes.",
                hint="Start once with a section [public], or copy the folder and the key store of a provider that did, "
                "and name it by space.folder.",
                code=ErrorCode.FILE_INVALID,
            ) from error
        if Path(name).name != name:
            raise KeyStoreError(f"{self._folder / _CURRENT} names no file of its folder.", hint="Restore the folder.")
        return self._read(name)

    def keep(self, space: Space, origin: Origin) -> None:
        """Write a space, sealed."""
        tensors = {
            "mean": space.scaling.mean,
            "scale": space.scaling.scale,
            "centre": space.centre,
            "inner": space.inner,
            "outer": space.outer,
            "norms": space.norms,
            "numbers": np.array([space.scaling.norm, space.count]),
        }
        header = json.dumps({"format": _FORMAT, "id": space.identifier.hex(), "origin": origin}).encode()
        arrays = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        content = header + b"\n" + arrays
        self._write(origin.file, content)

    def use(self, origin: Origin) -> None:
        """Take note of the space in use."""
        name = origin.file.encode()
        if not (self._folder / _CURRENT).exists() or (self._folder / _CURRENT).read_bytes() != name:
            write_atomically(self._folder / _CURRENT, name, mode=0o600)

    def salt(self, entropy: Entropy) -> bytes:
        """Return the salt of heads' digests, 32 bytes, drawn when there is none; raises `KeyStoreError` like `find`."""
        if not (self._folder / _SALT).exists():
            self._write(_SALT, entropy.octets(DIGEST_BYTES).tobytes())
        return self._open(_SALT, _SALT_HINT)

    def _write(self, file: str, content: bytes) -> None:
        sealer = self._sealers.current
        sealed = sealer.seal(content, _place(file))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._folder / file, sealer.name.encode() + b"\n" + sealed, mode=0o600)

    def _read(self, file: str, expected: Origin | None = None) -> Space:
        return _decoded(self._open(file, _HINT), self._folder / file, expected)

    def _open(self, file: str, hint: str) -> bytes:
        path = self._folder / file
        try:
            key, _, sealed = path.read_bytes().partition(b"\n")
            return self._sealers.named(key.decode()).open(sealed, _place(file))
        except (OSError, UnicodeDecodeError) as error:
            raise KeyStoreError(f"{path} cannot be read.", hint=hint) from error
        except KeyStoreError as error:
            raise KeyStoreError(f"{path} was altered, or sealed under a key that is not here.", hint=hint) from error


_HINT = "Restore it with the key store that it was made under, or move it away: clients then have to align again."
_SALT_HINT = (
    "Restore it with the key store, or move it away: the digest that clients keep with results is then another."
)


def _place(file: str) -> str:
    return f"space/{file}"


def _decoded(content: bytes, path: Path, expected: Origin | None) -> Space:
    first, _, arrays = content.partition(b"\n")
    header = json.loads(first)
    if header["format"] != _FORMAT or (expected and Origin(*header["origin"]) != expected):
        raise KeyStoreError(f"{path} is of another format or belongs to another encoder.", hint=_HINT)
    tensors = safetensors.numpy.load(arrays)
    norm, count = tensors["numbers"].tolist()
    return Space(
        identifier=bytes.fromhex(header["id"]),
        scaling=Scaling(tensors["mean"], tensors["scale"], norm),
        centre=tensors["centre"],
        inner=tensors["inner"],
        outer=tensors["outer"],
        norms=tensors["norms"],
        count=int(count),
    )
