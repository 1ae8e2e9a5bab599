"""What a provider lists to the client that asks: heads and spaces, as much of each as this client may use."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.naming import fault_of_name
from securealign.protocol.parts import (
    OutputMode,
    require,
    require_digest,
    require_offer_name,
    require_positive,
    require_space,
)


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
        require(bool(self.name), "a head has a name")
        require_offer_name(self.name)
        require_offer_name(self.space_name)
        require_positive(self.classes, self.provider_dim, self.max_slots)
        require_space(self.space)
        require_digest(self.head_digest, "a head digest")
        require(len(self.class_names) in {0, self.classes}, "class names are told for all classes or none")
        require(all(fault_of_name(name) is None for name in self.class_names), "class names can be shown on one line")


@dataclass(frozen=True, kw_only=True)
class SpaceListing:
    """Public texts to align on: the digest of the N texts, and the dimension d_A and identifier of the space."""

    name: str
    dataset_digest: bytes
    rows: int
    provider_dim: int
    space: bytes

    def __post_init__(self) -> None:
        require(bool(self.name), "a space has a name")
        require_offer_name(self.name)
        require_positive(self.rows, self.provider_dim)
        require_space(self.space)
        require_digest(self.dataset_digest, "a data set digest")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The heads and spaces that a provider offers to one client."""

    heads: tuple[HeadListing, ...]
    spaces: tuple[SpaceListing, ...]
