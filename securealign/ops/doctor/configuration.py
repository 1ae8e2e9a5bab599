"""What the checks need of a party's configuration; the party itself checks all of it when it starts."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic_settings import SettingsConfigDict

from securealign.errors import ConfigurationError
from securealign.pki.identity import Role
from securealign.settings import Settings, load_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class EndpointSection(_Section):
    """Where the provider listens, and this party's certificates; the client's section also holds its suites."""

    address: str = "127.0.0.1:50051"
    certificates: Path
    suites: tuple[str, ...] = ("lwe",)


class PublicSection(_Section):
    """The public texts, and where their embeddings come from."""

    texts: str
    embeddings: Path | None = None
    encoder: str | None = None


class FolderSection(_Section):
    """A folder: of the head, or of the alignment map."""

    folder: Path


class StateSection(_Section):
    """Where a party keeps what outlives its process."""

    folder: Path = Path("state")


class EncoderSection(_Section):
    """This party's encoder."""

    name: str


class SuitesSection(_Section):
    """The suites that the provider allows."""

    suites: tuple[str, ...] = ("lwe",)


class ProviderFile(Settings):
    """A provider's configuration."""

    model_config = SettingsConfigDict(env_prefix="SECUREALIGN_PROVIDER__", extra="ignore")

    server: EndpointSection
    public: PublicSection | None = None
    head: FolderSection | None = None
    policy: SuitesSection = SuitesSection()
    state: StateSection = StateSection()

    @property
    def endpoint(self) -> EndpointSection:
        """The section with address and certificates, with the suites of the policy."""
        return self.server.model_copy(update={"suites": self.policy.suites})

    @property
    def encoder_name(self) -> str | None:
        """The encoder that has to be opened to embed texts here."""
        return self.public.encoder if self.public else None

    @property
    def role(self) -> Role:
        """Which party this is."""
        return Role.PROVIDER


class ClientFile(Settings):
    """A client's configuration."""

    model_config = SettingsConfigDict(env_prefix="SECUREALIGN_CLIENT__", extra="ignore")

    provider: EndpointSection
    public: PublicSection | None = None
    encoder: EncoderSection | None = None
    alignment: FolderSection = FolderSection(folder=Path("alignment"))
    state: StateSection = StateSection()

    @property
    def endpoint(self) -> EndpointSection:
        """The section with address, certificates and suites."""
        return self.provider

    @property
    def encoder_name(self) -> str | None:
        """The encoder that has to be opened to embed texts here."""
        return self.encoder.name if self.encoder else None

    @property
    def role(self) -> Role:
        """Which party this is."""
        return Role.CLIENT


PartyFile = ProviderFile | ClientFile


def read_configuration(file: Path, party: str | None, overrides: list[str]) -> PartyFile:
    """Read a party's file; whose it is shows in its sections unless `party` says so.

    Raises `ConfigurationError` for a file that is missing, broken, or of neither party.
    """
    if (party or _party_of(file)) == Role.PROVIDER.label:
        return load_settings(ProviderFile, file, overrides)
    return load_settings(ClientFile, file, overrides)


def _party_of(file: Path) -> str:
    if not file.is_file():
        raise ConfigurationError(
            f"There is no configuration file {file}.", hint="Name it with --config: provider.toml or client.toml."
        )
    try:
        sections = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}.", hint="See the commented example.") from error
    named = {Role.PROVIDER: "server" in sections, Role.CLIENT: "provider" in sections}
    found = [role.label for role, present in named.items() if present]
    if len(found) != 1:
        raise ConfigurationError(
            f"{file} is not clear about its party: a provider's file has a section [server], a client's [provider].",
            hint="Add --party provider or --party client.",
        )
    return found[0]
