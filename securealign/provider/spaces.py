"""Where a provider's private coordinates are kept, and how their owner reads them."""

from __future__ import annotations

from pathlib import Path

from securealign.alignment.coordinates import Space
from securealign.provider.config import DEFAULT, ProviderSettings
from securealign.settings import load_settings
from securealign.storage.opening import State
from securealign.storage.spaces import SpaceFolder


def space_folder(settings: ProviderSettings, state: State, name: str = DEFAULT) -> SpaceFolder:
    """Return the folder of a space that the settings name, or the one of the state folder."""
    folder = settings.offered_spaces[name].folder or settings.state.folder / "spaces" / name
    return SpaceFolder(settings.path(folder), state.folder.sealers)


def stored_space(config: Path, name: str = DEFAULT) -> Space:
    """Return the space in use, by its name, of the provider with this configuration file; its secrets open it.

    Raises `ConfigurationError` when none was made, `KeyStoreError` when it cannot be opened.
    """
    settings = load_settings(ProviderSettings, config, [])
    state = settings.open_state(settings.state)
    try:
        return space_folder(settings, state, name).current()
    finally:
        state.close()
