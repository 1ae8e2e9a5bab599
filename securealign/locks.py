"""Exclusive locks on files, against other processes and threads; the system frees them when their process ends."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from securealign.errors import ErrorCode, KeyStoreError

_PAUSE_SECONDS = 0.02
#: Ten seconds: a write holds the lock for some milliseconds.
_ATTEMPTS = 500


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; returns False, without waiting, when another one holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of a lock file."""
    if not path.exists():
        return False
    descriptor = _open(path)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, *, attempts: int = _ATTEMPTS, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the lock of a file that is replaced when it is written; an empty lock file stays beside it.

    Raises `KeyStoreError` when another process holds it for longer than all attempts last.
    """
    busy = KeyStoreError(
        f"Another process keeps {path} locked.",
        hint="End it, or wait until it is done; 'fuser' on the .lock file beside it names the process.",
        code=ErrorCode.STORE_LOCKED,
    )
    with locked(path.with_name(f"{path.name}.lock"), busy, attempts=attempts, pause=pause):
        yield


@contextmanager
def locked(
    path: Path, busy: KeyStoreError, *, attempts: int = 1, pause: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock of a lock file, which is made if it is missing.

    Raises `busy` when another process holds it after all attempts, `KeyStoreError` when the file cannot be used.
    """
    descriptor = _open(path)
    try:
        while not try_lock(descriptor):
            attempts -= 1
            if attempts <= 0:
                raise busy
            pause(_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyStoreError(
            f"The lock file {path} cannot be used: {error.strerror or type(error).__name__}.",
            hint="Whoever changes the file beside it must be able to write in its folder.",
            code=ErrorCode.FILE_INVALID,
        ) from error
