"""Settings of the provider."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import SettingsConfigDict

from securealign.limits import ServerSettings
from securealign.protocol.policy.privacy import Privacy
from securealign.protocol.policy.rules import Rules
from securealign.settings import FORBID_UNKNOWN, Section, Settings, StateSection


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class ServerSection(ServerSettings):
    """Where to listen, and how much to serve."""

    address: str = "127.0.0.1:50051"
    certificates: Path
    reflection: bool = False


class PublicSection(Section):
    """The public texts and how this party embeds them; without it the provider serves no training."""

    texts: str
    encoder: str | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    prompt: str | None = None
    device: str = "cpu"
    embeddings: Path | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PublicSection:
        if (self.encoder is None) == (self.embeddings is None):
            raise ValueError("give either encoder or embeddings")
        return self


class SpaceSection(Section):
    """Where the private coordinates are kept; without a folder they lie in the state folder."""

    folder: Path | None = None


class HeadSection(Section):
    """The linear head; without it the provider serves no inference."""

    folder: Path


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class PolicySection(Rules):
    """What clients may do: the rules of the protocol, and bounds over all sessions."""

    suites: tuple[str, ...] = ("lwe",)
    max_peer_sessions: int | None = Field(default=8, gt=0)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    max_sessions_per_hour: int | None = Field(default=600, gt=0)
    max_queries_per_minute: int | None = Field(default=None, gt=0)
    max_pools_per_hour: int | None = Field(default=3600, gt=0)


class ProviderStateSection(StateSection):
    """What the provider keeps: sessions of its clients, what they were charged, and its own keys."""

    folder: Path = Path("provider-state")


@dataclass(config=FORBID_UNKNOWN, frozen=True, kw_only=True)
class PrivacySection(Privacy):
    """Differential privacy of training: what one session costs, and all sessions of one client over the same texts."""


class AuditSection(Section):
    """The audit log; without a file it lies in the state folder."""

    file: Path | None = None


class RecordSection(Section):
    """Run files, one for each stream: times, types, sizes and digests of messages, never contents."""

    folder: Path


class MetricsSection(Section):
    """Where metrics are served over HTTP, to whoever can connect; without the section they are not."""

    address: str = "127.0.0.1:9464"


class ProviderSettings(Settings):
    """All settings of the provider."""

    model_config = SettingsConfigDict(env_prefix="SECUREALIGN_PROVIDER__")

    server: ServerSection
    public: PublicSection | None = None
    space: SpaceSection = SpaceSection()
    head: HeadSection | None = None
    policy: PolicySection = PolicySection()
    privacy: PrivacySection | None = None
    state: ProviderStateSection = ProviderStateSection()
    audit: AuditSection = AuditSection()
    metrics: MetricsSection | None = None
    record: RecordSection | None = None

    @model_validator(mode="after")
    def _serves_something(self) -> ProviderSettings:
        if self.public is None and self.head is None:
            raise ValueError("a provider needs [public] to train, [head] to classify, or both")
        return self
