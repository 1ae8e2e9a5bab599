"""Where the passphrase of a key store comes from."""

import contextlib
import getpass
import os
import secrets
import stat
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from securealign.errors import ConfigurationError, FileError, InputError
from securealign.files import write_atomically
from securealign.optional import require

#: Shortest passphrase for a new store, after NIST SP 800-63B.
MIN_NEW_CHARACTERS = 8

_MAX_BYTES = 4096
#: 256 bits.
_GENERATED_BYTES = 32
_SERVICE = "securealign"


class Passphrase(Protocol):
    """A source of one passphrase."""

    def read(self, *, new: bool) -> bytes:
        """Return the passphrase, not empty; `new` when it is about to protect a store for the first time."""


def _ask_terminal(question: str) -> str:
    with warnings.catch_warnings():
        # Without a terminal, getpass warns and then shows what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(question)
        except (getpass.GetPassWarning, EOFError):
            raise ConfigurationError(
                "A passphrase is needed, and there is no terminal to ask for it.",
                hint="Take it from a file, an environment variable or the keyring.",
            ) from None


@dataclass(frozen=True)
class PromptPassphrase:
    """Asks on the terminal, twice for a new passphrase."""

    label: str = "Passphrase of the key store"
    ask: Callable[[str], str] = field(default=_ask_terminal, repr=False)

    def read(self, *, new: bool) -> bytes:
        """Return what was typed; raises `InputError` when the two differ."""
        first = self.ask(f"{self.label}: ")
        passphrase = _checked(first.encode("utf-8", "surrogateescape"), "The passphrase", new=new)
        if new and self.ask(f"{self.label}, again: ") != first:
            raise InputError("The two passphrases differ.", hint="Type the same one twice.")
        return passphrase


@dataclass(frozen=True)
class FilePassphrase:
    """A file that its owner alone can read; one newline at its end does not count."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    #: What the file holds, for the messages of errors.
    what: str = "passphrase"

    def read(self, *, new: bool) -> bytes:
        """Return what the file holds; raises `InputError` when others can read it or it cannot be read."""
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise FileError(
                f"The {self.what} file {self.path} cannot be read: {error.strerror or type(error).__name__}.",
                hint="Check its path and permissions, or restore it from a backup.",
            ) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not self._is_credential():
            raise FileError(
                f"The {self.what} file {self.path} can be read or changed by others than its owner.",
                hint=f"Run: chmod 600 {self.path}",
            )
        if len(data) > _MAX_BYTES:
            raise FileError(
                f"{self.path} is no {self.what} file: it holds more than {_MAX_BYTES} bytes.",
                hint="Name the right file.",
            )
        passphrase = data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")
        return _checked(passphrase, f"The {self.what} in {self.path}", new=new)

    def _is_credential(self) -> bool:
        """Return whether systemd keeps the file: it lets one user in by an access list, which shows as group bits."""
        folder = self.environment.get("CREDENTIALS_DIRECTORY")
        return bool(folder) and self.path.resolve().parent == Path(str(folder)).resolve()


@dataclass(frozen=True)
class EnvironmentPassphrase:
    """An environment variable."""

    variable: str
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def read(self, *, new: bool) -> bytes:
        """Return the value; raises `ConfigurationError` when the variable is not set."""
        value = self.environment.get(self.variable)
        if value is None:
            raise ConfigurationError(
                f"The environment variable {self.variable} for the passphrase is not set.",
                hint="Set it for this process alone, or use another source.",
            )
        return _checked(os.fsencode(value), f"The passphrase in {self.variable}", new=new)


@dataclass(frozen=True)
class KeyringPassphrase:
    """The keyring of the user's session, through the optional package keyring; makes a passphrase for a new store."""

    account: str

    def read(self, *, new: bool) -> bytes:
        """Return the passphrase of the account; raises `DependencyError` without the package."""
        keyring = require("keyring", "A passphrase from the keyring", extra="keyring")
        try:
            value = keyring.get_password(_SERVICE, self.account)
            if value is None and new:
                value = secrets.token_hex(_GENERATED_BYTES)
                keyring.set_password(_SERVICE, self.account, value)
        except keyring.errors.KeyringError as error:
            raise ConfigurationError(
                f"The keyring cannot be used: {type(error).__name__}.",
                hint="Unlock it, configure a backend of the package keyring, or use another source.",
            ) from error
        if value is None:
            raise ConfigurationError(
                f"The keyring holds no passphrase of {_SERVICE} for {self.account!r}.",
                hint=f"Run: keyring set {_SERVICE} {self.account}",
            )
        return _checked(value.encode(), f"The passphrase of {self.account!r}", new=new)


@dataclass(frozen=True)
class GeneratedPassphrase:
    """A file with a random passphrase, made for a new store when there is none.

    For parties that run unattended. It protects copies of the store that are made without it, such as backups, and
    nothing from whoever can read both files.
    """

    path: Path

    def read(self, *, new: bool) -> bytes:
        """Return what the file holds, mode 0600; made only for a new store."""
        if new and not self.path.exists():
            self._make()
        return FilePassphrase(self.path).read(new=new)

    def _make(self) -> None:
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            write_atomically(draft, secrets.token_hex(_GENERATED_BYTES).encode() + b"\n", mode=0o600)
            try:
                # Unlike a rename, a link never replaces what another process made in between.
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self.path)
            finally:
                draft.unlink()
        except OSError as error:
            raise FileError(
                f"The passphrase file {self.path} cannot be made: {error.strerror or type(error).__name__}.",
                hint="Name a file in a folder that this user can write.",
            ) from error


Source = Literal["prompt", "file", "environment", "keyring", "generated"]


@dataclass(frozen=True, kw_only=True)
class PassphraseChoice:
    """Which source to use, as a configuration names it."""

    source: Source = "prompt"
    #: Of the sources file and generated.
    file: Path | None = None
    #: Of the source environment.
    variable: str = "SECUREALIGN_PASSPHRASE"
    #: Of the source keyring.
    account: str = "keys.store"

    def open(self) -> Passphrase:
        """Return the source; raises `ConfigurationError` when it needs a file and none is named."""
        if self.source == "environment":
            return EnvironmentPassphrase(self.variable)
        if self.source == "keyring":
            return KeyringPassphrase(self.account)
        if self.source == "prompt":
            return PromptPassphrase()
        if self.file is None:
            raise ConfigurationError(
                f"The passphrase source {self.source!r} needs a file.", hint="Name it, or choose another source."
            )
        return GeneratedPassphrase(self.file) if self.source == "generated" else FilePassphrase(self.file)


def _checked(passphrase: bytes, name: str, *, new: bool) -> bytes:
    """Return the passphrase with letters and accents in one form, however the keyboard or editor composed them."""
    try:
        text = unicodedata.normalize("NFC", passphrase.decode())
    except UnicodeDecodeError:
        length, canonical = len(passphrase), passphrase
    else:
        length, canonical = len(text), text.encode()
    if not length:
        raise ConfigurationError(f"{name} is empty.", hint="Give one.")
    if new and length < MIN_NEW_CHARACTERS:
        raise ConfigurationError(
            f"{name} is shorter than {MIN_NEW_CHARACTERS} characters.",
            hint="Choose a longer one; a sentence does well.",
        )
    return canonical
