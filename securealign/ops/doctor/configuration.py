"""Reading the configuration of either party, whose own settings classes say what it may hold."""

from pathlib import Path

from securealign.client.config import ClientSettings
from securealign.errors import ConfigurationError
from securealign.pki.identity import Role
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings, read_toml

PartySettings = ProviderSettings | ClientSettings


def read_configuration(file: Path, party: str | None, overrides: list[str]) -> PartySettings:
    """Read a party's file; its sections tell which party unless `party` does. Names of other releases are left out.

    Raises `ConfigurationError` for a file that is missing, broken, of neither party, or with which the party would not
    start.
    """
    if (party or _party_of(file)) == Role.PROVIDER.label:
        return load_settings(ProviderSettings, file, overrides, ignore_unknown=True)
    return load_settings(ClientSettings, file, overrides, ignore_unknown=True)


def _party_of(file: Path) -> str:
    sections = read_toml(file)
    named = {Role.PROVIDER: "server" in sections, Role.CLIENT: "provider" in sections}
    found = [role.label for role, present in named.items() if present]
    if len(found) != 1:
        raise ConfigurationError(
            f"{file} is not clear about its party: a provider's file has a section [server], a client's [provider].",
            hint="Add --party provider or --party client.",
        )
    return found[0]
