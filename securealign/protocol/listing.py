"""What a provider lists to the client that asks: heads and spaces, as much of each as this client may use."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import DIGEST_BYTES, SPACE_BYTES
from securealign.naming import fault_of_name, is_offer_name
from securealign.protocol.messages import OutputMode


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise RemoteProtocolError(f"In a provider's list, {rule}.", code=ErrorCode.FRAME_MALFORMED)


@dataclass(frozen=True, kw_only=True)
class HeadListing:
    """A head that the client may ask: names, K, d_A, space, digest, output, and what is left of the budget.

    `class_names` are told for one head that is asked for by name. `bits_left` is None without a limit of bits;
    `answer_bits` are those of one answer under the suite that the provider prefers.
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    output: OutputMode
    provider_dim: int
    space: bytes
    space_name: str
    head_digest: bytes
    queries_left: int
    bits_left: int | None
    max_slots: int
    answer_bits: int
    abstains: bool

    def __post_init__(self) -> None:
        _require(is_offer_name(self.name), "a head has a short name")
        _require(not self.space_name or is_offer_name(self.space_name), "a space has a short name or none")
        _require(min(self.classes, self.provider_dim, self.max_slots) > 0, "sizes are positive")
        _require(len(self.space) == SPACE_BYTES, "a space has an identifier")
        _require(len(self.head_digest) == DIGEST_BYTES, "a head has a digest")
        _require(len(self.class_names) in {0, self.classes}, "class names are told for all classes or none")
        _require(all(fault_of_name(name) is None for name in self.class_names), "class names can be shown on one line")


@dataclass(frozen=True, kw_only=True)
class SpaceListing:
    """Public texts to align on: the digest of the N texts, and the dimension d_A and identifier of the space."""

    name: str
    dataset_digest: bytes
    rows: int
    provider_dim: int
    space: bytes

    def __post_init__(self) -> None:
        _require(is_offer_name(self.name), "a space has a short name")
        _require(min(self.rows, self.provider_dim) > 0, "sizes are positive")
        _require(len(self.space) == SPACE_BYTES, "a space has an identifier")
        _require(len(self.dataset_digest) == DIGEST_BYTES, "public texts have a digest")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The heads and spaces that a provider offers to one client."""

    heads: tuple[HeadListing, ...]
    spaces: tuple[SpaceListing, ...]
