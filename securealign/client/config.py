"""Settings of the client."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from securealign.alignment.regression import MapKind
from securealign.settings import EncoderChoice, Section, Settings, StateSection


class ProviderSection(Section):
    """How to reach the provider."""

    address: str = "127.0.0.1:50051"
    certificates: Path
    deadline_seconds: float = Field(default=3600, gt=0)
    patience_seconds: float = Field(default=300, ge=0)
    suites: tuple[str, ...] = ("lwe",)
    #: Which of its heads to ask, and which of its spaces to align with; "" where it offers one.
    head: str = ""
    space: str = ""


class EncoderSection(EncoderChoice):
    """This party's encoder."""

    name: str | None = None

    @property
    def encoder_name(self) -> str | None:
        """The encoder that runs here."""
        return self.name

    @model_validator(mode="after")
    def _one_encoder(self) -> EncoderSection:
        if self.encoders != 1:
            raise ValueError("give either name or endpoint")
        return self


class PublicSection(Section):
    """The public texts; `embeddings` replaces encoding them here."""

    texts: str
    embeddings: Path | None = None


class AlignmentSection(Section):
    """The alignment map: where it is kept, its kind, and the ridge penalty of the fit."""

    folder: Path = Path("alignment")
    map: MapKind = "soft"
    ridge: float | Literal["auto"] = "auto"
    accept_noise: bool = False


class InferenceSection(Section):
    """Slots in a pool, how many queries are prepared at a time, chosen without it; and whether answers are checked."""

    pool_slots: int | None = Field(default=None, gt=0, le=1024)
    verify_answers: bool = True


class ClientStateSection(StateSection):
    """What the client keeps: its keys, and sessions that were interrupted."""

    folder: Path = Path("client-state")


class ClientSettings(Settings):
    """All settings of the client."""

    model_config = SettingsConfigDict(env_prefix="SECUREALIGN_CLIENT__")

    provider: ProviderSection
    encoder: EncoderSection | None = None
    public: PublicSection | None = None
    alignment: AlignmentSection = AlignmentSection()
    inference: InferenceSection = InferenceSection()
    state: ClientStateSection = ClientStateSection()

    @model_validator(mode="after")
    def _can_embed(self) -> ClientSettings:
        if self.encoder is None and (self.public is None or self.public.embeddings is None):
            raise ValueError("a client needs [encoder], or public.embeddings made elsewhere")
        return self
