"""One writer at a time: a lock on a file beside the one that is written, since writing replaces that one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from securealign.errors import ErrorCode, KeyStoreError

_PAUSE_SECONDS = 0.02
#: Ten seconds in all: a write holds the lock for some milliseconds.
_ATTEMPTS = 500


@contextmanager
def exclusive(path: Path, *, attempts: int = _ATTEMPTS, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the lock of `path` against all other processes and threads; the lock file stays behind, empty.

    The system frees the lock when the process ends, however it ends. Raises `KeyStoreError` when another one holds it
    for longer than all attempts last, or the lock file cannot be made.
    """
    descriptor = _open(path.with_name(f"{path.name}.lock"))
    try:
        _acquire(descriptor, path, attempts, pause)
        yield
    finally:
        os.close(descriptor)


def _open(side: Path) -> int:
    try:
        side.parent.mkdir(parents=True, exist_ok=True)
        return os.open(side, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyStoreError(
            f"The lock file {side} cannot be used: {error.strerror or type(error).__name__}.",
            hint="Whoever changes the file beside it must be able to write in its folder.",
            code=ErrorCode.FILE_INVALID,
        ) from error


def _acquire(descriptor: int, path: Path, attempts: int, pause: Callable[[float], None]) -> None:
    while not _locks(descriptor):
        attempts -= 1
        if attempts <= 0:
            raise KeyStoreError(
                f"Another process keeps {path} locked.",
                hint="End it, or wait until it is done; 'fuser' on the .lock file beside it names the process.",
                code=ErrorCode.STORE_LOCKED,
            )
        pause(_PAUSE_SECONDS)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
