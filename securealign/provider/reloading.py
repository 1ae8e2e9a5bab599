"""Signals to a provider that runs, and its heads taken up again from its configuration file.

reload.json             in the state folder, 0600: when heads were taken up last, what differed, or why it failed
"""

from __future__ import annotations

import json
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import structlog

from securealign.errors import ConfigurationError, ErrorCode, SecurealignError, TransportError
from securealign.files import write_atomically
from securealign.locks import is_held
from securealign.logs import describe
from securealign.provider.config import NamedHead, PolicySection, ProviderSettings
from securealign.provider.loading import read_heads
from securealign.provider.offers import Offers
from securealign.storage.folder import lock_file

log = structlog.get_logger()

#: Seconds between searches for sessions whose clients did not return.
_EXPIRY_SECONDS = 600.0
RELOAD_FILE = "reload.json"
_PAUSE_SECONDS = 0.05


class Signals:
    """Iterates over what the process is told: True for SIGHUP, False when time has passed; ends at SIGINT or SIGTERM.

    A signal to stop that comes before the iteration ends the process as usual.
    """

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        self._before = signal.getsignal(signal.SIGHUP)

    def __enter__(self) -> Signals:
        signal.signal(signal.SIGHUP, self._tell)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGHUP, self._before)

    def __iter__(self) -> Iterator[bool]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._tell)
        yield False
        while True:
            try:
                told = self._told.get(timeout=_EXPIRY_SECONDS)
            except queue.Empty:
                yield False
                continue
            if told is not signal.SIGHUP:
                return
            yield True

    def _tell(self, number: int, _frame: FrameType | None) -> None:
        self._told.put(signal.Signals(number))


class Reloads:
    """Takes up the heads of the configuration file again; what fails changes nothing, and is logged and noted."""

    def __init__(
        self, settings: ProviderSettings, folder: Path, read: Callable[[], ProviderSettings], offers: Offers
    ) -> None:
        self._settings = settings
        self._file = folder / RELOAD_FILE
        self._read = read
        self._offers = offers
        self._count = 0
        self._note()

    def reload(self) -> list[str]:
        """Read the file and its heads, offer them, note what differs, and return it; nothing where that fails."""
        try:
            settings = self._read()
            changed = _fixed_sections(self._settings, settings)
            if "spaces" in changed:
                raise ConfigurationError(
                    "The public texts or spaces of the file have changed, which takes a new start.",
                    hint="Start the provider again, or restore [public], [space] and [spaces.NAME].",
                )
            heads = self._offers.replace_heads(settings, read_heads(settings))
        except Exception as error:  # a file that cannot be used must not end the server
            reason = _reason(error)
            log.warning("heads not taken up again", reason=reason)
            self._note(error=reason)
            return []
        if changed:
            log.warning("sections take effect at the next start", sections=changed)
        log.info("heads taken up again", heads=heads)
        self._note(heads=heads, waiting=changed)
        return heads

    def _note(self, *, heads: Sequence[str] = (), waiting: Sequence[str] = (), error: str = "") -> None:
        self._count += 1
        said = {"heads": list(heads), "waiting": list(waiting), "error": error}
        note = {"count": self._count, "time": time.time(), "pid": os.getpid(), **said}
        try:
            write_atomically(self._file, json.dumps(note).encode(), mode=0o600)
        except OSError as failure:
            log.warning("what was taken up cannot be noted", cause=_reason(failure))


def _reason(error: Exception) -> str:
    if isinstance(error, SecurealignError):
        return f"{error.message} {error.hint}".rstrip()
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}."
    return describe(error)


def _fixed_sections(before: ProviderSettings, after: ProviderSettings) -> list[str]:
    """Return the sections that differ and hold for the life of the process."""
    fixed = [
        name
        for name in ("server", "privacy", "state", "audit", "metrics", "console", "record")
        if _differ(name, before, after)
    ]
    if before.offered_spaces != after.offered_spaces:
        fixed.append("spaces")
    of_heads = set(NamedHead.model_fields)
    if any(
        getattr(before.policy, item.name) != getattr(after.policy, item.name)
        for item in fields(PolicySection)
        if item.name not in of_heads
    ):
        fixed.append("policy")
    return fixed


def _differ(name: str, before: ProviderSettings, after: ProviderSettings) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def ask_to_reload(folder: Path, *, seconds: float = 60.0) -> dict[str, Any]:
    """Tell the provider of a state folder to take up its heads again, and return what it noted.

    Raises `ConfigurationError` when no provider runs there or the heads cannot be used, `TransportError` when it does
    not answer in time.
    """
    before = _noted(folder)
    # A process number outlives its process: only the lock says that this provider runs.
    if not before or not is_held(lock_file(folder, "provider")):
        raise ConfigurationError(
            f"No provider serves with the state folder {folder}.",
            hint="Start one: it reads the heads then. One that still embeds its public texts cannot take up others.",
        )
    os.kill(int(before["pid"]), signal.SIGHUP)
    end = time.monotonic() + seconds
    while (now := _noted(folder)).get("count") == before["count"]:
        if time.monotonic() > end:
            raise TransportError(
                f"The provider did not answer within {seconds:g} seconds.",
                hint="See its log.",
                code=ErrorCode.DEADLINE_EXCEEDED,
            )
        time.sleep(_PAUSE_SECONDS)
    if now["error"]:
        raise ConfigurationError(
            f"The provider goes on with the heads that it has: {now['error']}", hint="Correct the file, and try again."
        )
    return now


def _noted(folder: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads((folder / RELOAD_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted
