"""Settings of the provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import SettingsConfigDict

from securealign.errors import SecurealignError, did_you_mean
from securealign.limits import ServerSettings
from securealign.naming import is_offer_name
from securealign.protocol.policy.privacy import Privacy
from securealign.protocol.policy.rules import Output, Rules
from securealign.settings import FORBID_UNKNOWN, EncoderChoice, Section, Settings, StateSection

#: Name of the space and of the head that a file of one head has.
DEFAULT = "default"


def _offer_name(name: str) -> str:
    if not is_offer_name(name):
        raise ValueError("a name has up to 64 of a to z, digits, and _ . - inside")
    return name


OfferName = Annotated[str, AfterValidator(_offer_name)]


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class ServerSection(ServerSettings):
    """Where to listen, and how much to serve."""

    address: str = "127.0.0.1:50051"
    certificates: Path
    reflection: bool = False


class PublicSection(EncoderChoice):
    """The public texts and how this party embeds them; without it the provider serves no training."""

    texts: str
    encoder: str | None = None
    embeddings: Path | None = None

    @property
    def encoder_name(self) -> str | None:
        """The encoder that runs here."""
        return self.encoder

    @model_validator(mode="after")
    def _one_source(self) -> PublicSection:
        if self.texts and self.encoders + (self.embeddings is not None) != 1:
            raise ValueError("give one of encoder, endpoint and embeddings")
        return self


class SpaceSection(Section):
    """Where the private coordinates are kept; without a folder they lie in the state folder."""

    folder: Path | None = None


class NamedSpace(PublicSection):
    """A space by its name: public texts and their embeddings, and where its coordinates are kept.

    Without texts, clients cannot align with it, and the folder holds the coordinates of a provider that had them.
    """

    texts: str = ""
    folder: Path | None = None


class HeadSection(Section):
    """The linear head; without it the provider serves no inference."""

    folder: Path


class NamedHead(HeadSection):
    """A head by its name: its space, the clients that may ask it, and rules that differ from those of [policy].

    The space may be left out where there is one, and clients where all may ask.
    """

    space: str | None = None
    clients: tuple[str, ...] | None = None
    output: Output | None = None
    abstain_below: float | None = None
    confidence_thresholds: tuple[float, ...] | None = None
    output_bits: int | None = None
    max_queries: int | None = None
    max_answer_bits: int | None = None
    publish_class_names: bool | None = None

    def may_ask(self, client: str) -> bool:
        """Return whether the client of a name may ask the head."""
        return self.clients is None or client in self.clients

    def shares_clients(self, other: NamedHead) -> bool:
        """Return whether some client may ask both heads."""
        if self.clients is None or other.clients is None:
            return () not in (self.clients, other.clients)
        return not set(self.clients).isdisjoint(other.clients)

    def rules(self, policy: Rules) -> RulesSection:
        """Return the rules of this head; what another output excludes is not taken from the policy.

        Raises `ConfigurationError` for rules that exclude each other, `ValueError` for one out of its bounds.
        """
        values = {field.name: getattr(policy, field.name) for field in fields(Rules)}
        if self.output not in {None, policy.output}:
            values |= {"abstain_below": None, "confidence_thresholds": (), "output_bits": None}
        own = self.model_dump(include=set(values), exclude_none=True)
        return RulesSection(**{**values, **own})


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class RulesSection(Rules):
    """The rules of one head, within the bounds that they are declared with."""


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class PolicySection(Rules):
    """What clients may do: the rules of the protocol, and bounds over all sessions."""

    suites: tuple[str, ...] = ("lwe",)
    max_peer_sessions: int | None = Field(default=8, gt=0)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    max_sessions_per_hour: int | None = Field(default=600, gt=0)
    max_queries_per_minute: int | None = Field(default=None, gt=0)
    max_pools_per_hour: int | None = Field(default=3600, gt=0)
    max_listings_per_minute: int | None = Field(default=60, gt=0)


class ProviderStateSection(StateSection):
    """What the provider keeps: sessions of its clients, what they were charged, and its own keys."""

    folder: Path = Path("provider-state")


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class PrivacySection(Privacy):
    """Differential privacy of training: what one session may cost a row, and all sessions of one client."""


class AuditSection(Section):
    """The audit log; without a file it lies in the state folder."""

    file: Path | None = None


class RecordSection(Section):
    """Run files, one for each stream: times, types, sizes and digests of messages, never contents."""

    folder: Path


class MetricsSection(Section):
    """Where metrics are served over HTTP, to whoever can connect; without the section they are not."""

    address: str = "127.0.0.1:9464"


class ConsoleSection(Section):
    """Where a page over the provider's state is served over HTTP, without TLS; without the section it is not.

    Beyond this machine it takes a token; `hosts` are the names by which browsers may call it, beside its addresses.
    """

    address: str = "127.0.0.1:9465"
    token_file: Path | None = None
    hosts: tuple[str, ...] = ()


class ProviderSettings(Settings):
    """All settings of the provider."""

    model_config = SettingsConfigDict(env_prefix="SECUREALIGN_PROVIDER__")

    server: ServerSection
    public: PublicSection | None = None
    space: SpaceSection = SpaceSection()
    head: HeadSection | None = None
    spaces: Mapping[OfferName, NamedSpace] = Field(default_factory=dict)
    heads: Mapping[OfferName, NamedHead] = Field(default_factory=dict)
    policy: PolicySection = PolicySection()
    privacy: PrivacySection | None = None
    state: ProviderStateSection = ProviderStateSection()
    audit: AuditSection = AuditSection()
    metrics: MetricsSection | None = None
    console: ConsoleSection | None = None
    record: RecordSection | None = None

    @property
    def offered_spaces(self) -> dict[str, NamedSpace]:
        """The spaces by name; those of [public] and [space] have the name "default"."""
        if self.spaces:
            return dict(self.spaces)
        public = {} if self.public is None else self.public.model_dump(exclude_unset=True)
        return {DEFAULT: NamedSpace(**public, folder=self.space.folder)}

    @property
    def offered_heads(self) -> dict[str, NamedHead]:
        """The heads by name; that of [head] has the name "default"."""
        if self.head is None:
            return dict(self.heads)
        return {DEFAULT: NamedHead(folder=self.head.folder)}

    def space_of(self, head: NamedHead) -> str:
        """Return the name of a head's space."""
        return head.space or next(iter(self.offered_spaces))

    @model_validator(mode="after")
    def _serves_something(self) -> ProviderSettings:
        if self.public is None and self.head is None and not self.heads and not self.spaces:
            raise ValueError(
                "a provider needs [public] or [spaces.NAME] to train, [head] or [heads.NAME] to classify, or both"
            )
        if self.spaces and (self.public is not None or self.space.folder is not None):
            raise ValueError("give [spaces.NAME], or [public] and [space]: both name the public texts")
        if self.heads and self.head is not None:
            raise ValueError("give [heads.NAME] or [head]: [head] is short for one head")
        spaces = self.offered_spaces
        for name, head in self.heads.items():
            if head.space is None and len(spaces) > 1:
                raise ValueError(f"heads.{name} needs a space, one of {', '.join(spaces)}")
            if head.space not in {None, *spaces}:
                known = f"[spaces.NAME] has {', '.join(spaces)}. {did_you_mean(str(head.space), spaces)}".rstrip()
                raise ValueError(f"heads.{name} names the unknown space {head.space!r}: {known}")
            try:
                head.rules(self.policy)
            except SecurealignError as error:
                raise ValueError(f"heads.{name}: {error.message} {error.hint}") from error
        return self
