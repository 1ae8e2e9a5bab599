"""The file around a key store: a header in clear, the entries under AES-256-GCM, and a checksum.

scrypt turns a passphrase into a master key once. Each write takes a fresh salt, from which HKDF makes the key of that
one file; that key encrypts one message, so its nonce is constant. The check value commits to the master key, which
tells a wrong passphrase from a damaged file. The layout is normative in docs/keys.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from securealign.errors import ConfigurationError, ErrorCode, KeyStoreError

MAGIC = b"SAKEYS\r\n"
VERSION = 1
#: Room for some 50,000 keys, far more than years of daily rotation leave behind.
MAX_STORE_BYTES = 16 << 20

_MAX_SCRYPT_MEMORY = 1 << 30
_SALT_BYTES = 32
_CHECK = b"securealign/store/check"
_FILE = b"securealign/store/file"
_TAG_BYTES = 16
_CHECKSUM_BYTES = 32
_NONCE = bytes(12)
_BACKUP_HINT = "Nothing was changed. Put a backup of the file in its place."


@dataclass(frozen=True)
class ScryptCost:
    """What a guess at the passphrase costs: 128 * r * 2^log2_n bytes of memory, p times."""

    log2_n: int = 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.log2_n <= 20 and 1 <= self.r <= 32 and 1 <= self.p <= 16) or (
            128 * self.r << self.log2_n > _MAX_SCRYPT_MEMORY
        ):
            raise ConfigurationError(
                "These scrypt parameters are out of bounds.",
                hint="Keep log2 N <= 20, r <= 32, p <= 16 and 128 * r * N <= 1 GiB; 17, 8, 1 suits most machines.",
            )


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands in clear before the entries, and is authenticated with them."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f">8sHBBB{_SALT_BYTES}s32s16sQ{_SALT_BYTES}sI")

    cost: ScryptCost
    salt: bytes
    check: bytes
    #: Tells this store from any other, 16 bytes.
    store: bytes
    #: How often the store was written.
    generation: int
    file_salt: bytes
    ciphertext_bytes: int = 0

    def encode(self) -> bytes:
        """Return the header as bytes."""
        return self.LAYOUT.pack(
            MAGIC,
            VERSION,
            self.cost.log2_n,
            self.cost.r,
            self.cost.p,
            self.salt,
            self.check,
            self.store,
            self.generation,
            self.file_salt,
            self.ciphertext_bytes,
        )

    def next(self) -> Header:
        """Return the header of the write after this one."""
        return replace(self, generation=self.generation + 1, file_salt=secrets.token_bytes(_SALT_BYTES))

    def follows(self, seen: Header) -> bool:
        """Return whether this is the write that was seen, or a later one of the same store."""
        later = self.generation > seen.generation or self.file_salt == seen.file_salt
        return self.store == seen.store and later


@final
class MasterKey:
    """What scrypt made of a passphrase and a salt; opens and seals stores, and cannot be printed or pickled."""

    __slots__ = ("_secret", "check", "cost", "salt")

    _secret: Callable[[], bytes]

    def __init__(self, passphrase: bytes, salt: bytes, cost: ScryptCost) -> None:
        secret = Scrypt(salt=salt, length=32, n=1 << cost.log2_n, r=cost.r, p=cost.p).derive(passphrase)
        # A closure, so that no attribute holds the secret.
        self._secret = lambda: secret
        self.salt, self.cost = salt, cost
        self.check = _hkdf(secret, _CHECK)

    def __repr__(self) -> str:
        return "<MasterKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key cannot be pickled or copied")

    @classmethod
    def fresh(cls, passphrase: bytes, cost: ScryptCost) -> MasterKey:
        """Return a master key under a new salt."""
        return cls(passphrase, secrets.token_bytes(_SALT_BYTES), cost)

    @classmethod
    def of(cls, passphrase: bytes, header: Header) -> MasterKey:
        """Return the master key of a store; raises `KeyStoreError` when the passphrase is wrong."""
        master = cls(passphrase, header.salt, header.cost)
        if not hmac.compare_digest(master.check, header.check):
            raise KeyStoreError(
                "The passphrase does not open this key store.",
                hint="Check which passphrase belongs to the store; without it, its keys cannot be recovered.",
                code=ErrorCode.PASSPHRASE_WRONG,
            )
        return master

    def opens(self, header: Header) -> bool:
        """Return whether a header asks for this master key, and not for one of another passphrase or salt."""
        return (self.salt, self.cost, self.check) == (header.salt, header.cost, header.check)

    def header(self) -> Header:
        """Return the header of a new store's first write."""
        return Header(
            cost=self.cost,
            salt=self.salt,
            check=self.check,
            store=secrets.token_bytes(16),
            generation=1,
            file_salt=secrets.token_bytes(_SALT_BYTES),
        )

    def adopt(self, header: Header) -> Header:
        """Return the header of the same store under this master key."""
        return replace(header, salt=self.salt, cost=self.cost, check=self.check)

    def seal(self, header: Header, plaintext: bytes) -> bytes:
        """Return the file that holds `plaintext`; each header seals one plaintext only."""
        clear = replace(header, ciphertext_bytes=len(plaintext) + _TAG_BYTES).encode()
        body = clear + self._cipher(header).encrypt(_NONCE, plaintext, clear)
        return body + hashlib.sha256(body).digest()

    def open(self, envelope: Envelope) -> bytes:
        """Return the plaintext; raises `KeyStoreError` when a byte of the file is not as it was written."""
        try:
            return self._cipher(envelope.header).decrypt(_NONCE, envelope.ciphertext, envelope.header.encode())
        except InvalidTag:
            raise KeyStoreError("The key store was altered.", hint=_BACKUP_HINT) from None

    def _cipher(self, header: Header) -> AESGCM:
        return AESGCM(_hkdf(self._secret(), _FILE, header.file_salt))


@dataclass(frozen=True)
class Envelope:
    """A store's file taken apart: well-formed, not yet authenticated."""

    header: Header
    ciphertext: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Take a file apart; raises `KeyStoreError` for one that is no store, truncated, damaged or too new."""
        layout = Header.LAYOUT
        if not data.startswith(MAGIC):
            raise KeyStoreError("This file is no key store, or its beginning is damaged.", hint=_BACKUP_HINT)
        if len(data) < layout.size:
            raise KeyStoreError("The key store was truncated.", hint=_BACKUP_HINT)
        _, version, log2_n, r, p, salt, check, store, generation, file_salt, size = layout.unpack_from(data)
        if version != VERSION:
            raise KeyStoreError(
                f"The key store has format version {version}; this release reads version {VERSION}.",
                hint="Use the release that wrote it, or put a backup of the file in its place.",
            )
        body = layout.size + size
        if len(data) != body + _CHECKSUM_BYTES:
            raise KeyStoreError(
                f"The key store has {len(data)} bytes where {body + _CHECKSUM_BYTES} were written.", hint=_BACKUP_HINT
            )
        if hashlib.sha256(data[:body]).digest() != data[body:]:
            raise KeyStoreError("The key store is damaged: its checksum differs.", hint=_BACKUP_HINT)
        header = Header(
            cost=_cost(log2_n, r, p),
            salt=salt,
            check=check,
            store=store,
            generation=generation,
            file_salt=file_salt,
            ciphertext_bytes=size,
        )
        return cls(header, data[layout.size : body])


def _cost(log2_n: int, r: int, p: int) -> ScryptCost:
    try:
        return ScryptCost(log2_n, r, p)
    except ConfigurationError:
        raise KeyStoreError(
            "The key store names scrypt parameters that this program never writes.", hint=_BACKUP_HINT
        ) from None


def _hkdf(secret: bytes, label: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=label).derive(secret)
