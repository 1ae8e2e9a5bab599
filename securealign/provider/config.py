"""Settings of the provider."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from securealign.settings import Section, Settings, StateSection


class ServerSection(Section):
    """Where to listen, and how much to serve."""

    address: str = "127.0.0.1:50051"
    certificates: Path
    max_sessions: int = Field(default=16, gt=0)
    session_seconds: float = Field(default=3600, gt=0)
    idle_seconds: float = Field(default=120, gt=0)
    reflection: bool = False


class PublicSection(Section):
    """The public texts and how this party embeds them; without it the provider serves no training."""

    texts: str
    encoder: str | None = None
    max_tokens: int | None = Field(default=None, gt=0)
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


class PolicySection(Section):
    """What clients may do."""

    suites: tuple[str, ...] = ("lwe",)
    min_rows_per_dimension: float = Field(default=1.0, ge=1)
    max_rank_fraction: float = Field(default=0.5, gt=0, le=1)
    min_rows: int = Field(default=1, ge=1)
    max_queries: int = Field(default=100_000, gt=0)
    max_answer_bits: int | None = Field(default=None, gt=0)
    output_bits: int | None = Field(default=None, ge=4, le=64)
    max_peer_sessions: int | None = Field(default=8, gt=0)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    max_sessions_per_hour: int | None = Field(default=600, gt=0)
    max_queries_per_minute: int | None = Field(default=None, gt=0)
    publish_class_names: bool = True
    require_function_private: bool = False


class ProviderStateSection(StateSection):
    """What the provider keeps: sessions of its clients, what they were charged, and its own keys."""

    folder: Path = Path("provider-state")


class PrivacySection(Section):
    """Differential privacy of training: what one session costs, and all sessions of one client over the same texts."""

    epsilon: float = Field(gt=0)
    delta: float = Field(default=1e-6, gt=0, lt=1)
    row_norm: float = Field(default=1.0, gt=0)
    max_epsilon: float = Field(gt=0)


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
