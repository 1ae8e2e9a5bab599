"""Where a provider's private coordinates are kept, and how their owner reads them."""

from __future__ import annotations

from pathlib import Path

from securealign.alignment.coordinates import Space
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings
from securealign.storage.opening import State
from securealign.storage.spaces import SpaceFolder


def space_folder(settings: ProviderSettings, state: State) -> SpaceFolder:
    """Return the folder of spaces that the settings name, or the one of the state folder."""
    folder = settings.space.folder or settings.state.folder / "spaces" / "default"
    return SpaceFolder(settings.path(folder), state.folder.sealers)


def stored_space(config: Path) -> Space:
    """Return the space in use of the provider with this configuration file; its secrets open it.

    Raises `ConfigurationError` when none was made, `KeyStoreError` when it cannot be opened.
    """
    settings = load_settings(ProviderSettings, config, [])
    state = settings.open_state(settings.state)
    try:
        return space_folder(settings, state).current()
    finally:
        state.close()
