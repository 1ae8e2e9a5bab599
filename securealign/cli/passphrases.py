"""Options of commands that need a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from securealign.errors import ConfigurationError
from securealign.keys.passphrase import (
    EnvironmentPassphrase,
    FilePassphrase,
    GeneratedPassphrase,
    KeyringPassphrase,
    Passphrase,
    PromptPassphrase,
)

PassphraseFile = Annotated[Path | None, typer.Option(help="Read the passphrase from this file, of mode 0600.")]
PassphraseEnv = Annotated[str | None, typer.Option(help="Read the passphrase from this environment variable.")]
PassphraseKeyring = Annotated[
    str | None, typer.Option(help="Read the passphrase from the keyring, under this account.")
]


def passphrase_source(
    file: Path | None,
    variable: str | None,
    account: str | None,
    generated: Path | None = None,
    *,
    options: str = "--passphrase-file, --passphrase-env, --passphrase-keyring, --passphrase-generated",
    label: str = "Passphrase of the key store",
) -> Passphrase:
    """Return the one source that was given, or the terminal; raises `ConfigurationError` for several."""
    given: tuple[tuple[Callable[[Any], Passphrase], Any], ...] = (
        (FilePassphrase, file),
        (EnvironmentPassphrase, variable),
        (KeyringPassphrase, account),
        (GeneratedPassphrase, generated),
    )
    sources = [make(value) for make, value in given if value is not None]
    if len(sources) > 1:
        raise ConfigurationError("A passphrase has one source.", hint=f"Give one of {options}.")
    return sources[0] if sources else PromptPassphrase(label)
