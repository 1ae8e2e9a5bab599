"""All messages of a session as one digest, which both parties compare before they use the result.

Each direction is a chain of SHA-256 over the bytes as they travelled; the digest joins both chains. Two chains rather
than one, since the parties may see messages of opposite directions cross.
"""

import hashlib

_DOMAIN = b"securealign/transcript/"


class Transcript:
    """The two hash chains of one session."""

    def __init__(self, kind: str) -> None:
        self._kind = kind.encode()
        self._to_provider = self._to_client = hashlib.sha256(_DOMAIN + self._kind).digest()

    def to_provider(self, digest: bytes) -> None:
        """Add a message from the client, given the SHA-256 of its bytes."""
        self._to_provider = hashlib.sha256(self._to_provider + digest).digest()

    def to_client(self, digest: bytes) -> None:
        """Add a message from the provider, given the SHA-256 of its bytes."""
        self._to_client = hashlib.sha256(self._to_client + digest).digest()

    def save(self) -> list[str]:
        """Return both chains, for `load`."""
        return [self._to_provider.hex(), self._to_client.hex()]

    def load(self, chains: list[str]) -> None:
        """Go on from chains that were saved."""
        self._to_provider, self._to_client = map(bytes.fromhex, chains)

    def digest(self) -> bytes:
        """Return the digest of everything so far, 32 bytes."""
        return hashlib.sha256(_DOMAIN + b"end/" + self._kind + self._to_provider + self._to_client).digest()
