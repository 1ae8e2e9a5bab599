"""Where results go: a file that is partial until it is complete, or a stream such as standard output or a pipe.

A partial file `NAME.partial` lies beside the result, and `NAME.partial.json` says how far its work is. Whole lines
count, a torn last line is cut, and the same command goes on behind them.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from securealign.errors import ErrorCode, InputError, KeyStoreError, SecurealignError
from securealign.files import replace_durably, sync_folder, write_atomically
from securealign.locks import try_lock

_FORMAT = 1
_BLOCK = 1 << 20
_SHOWN_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far a piece of work is: what must not change before it goes on, and the session that is open for it."""

    #: Digest of the map, encoder and options that decide what a line holds.
    settings: str
    #: Digest of the head that gave all answers so far, hexadecimal; empty before the first.
    head: str = ""
    #: Inputs whose queries may have been sent, and their digest.
    asked: int = 0
    digest: str = ""
    #: Lines that were on disk by then.
    lines: int = 0
    #: Name of the open session, empty if there is none; its first input, slots of a pool and queries of a block.
    session: str = ""
    first: int = 0
    slots: int = 0
    block: int = 0

    @classmethod
    def load(cls, path: Path) -> Place | None:
        """Return what a file says, None where there is no such file or it cannot be used."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**content["place"]) if content["format"] == _FORMAT else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, path: Path) -> None:
        """Write it to a file that its owner alone can read."""
        content = {"format": _FORMAT, "place": asdict(self)}
        write_atomically(path, (json.dumps(content) + "\n").encode(), mode=0o600)


class Results(ABC):
    """Takes lines in the order of the inputs; used as a context manager."""

    def __init__(self, file: Path, place: Place) -> None:
        self._file = file
        #: How far the work is.
        self.place = place
        #: Lines that are written for good.
        self.lines = 0

    #: Whether another process goes on behind the lines that are written.
    durable: bool

    def note(self, **changes: str | int) -> None:
        """Record how far the work is, before queries are sent."""
        self.place = replace(self.place, lines=self.lines, **changes)  # type: ignore[arg-type]
        self.place.save(self._file)

    def require_head(self, head: str) -> None:
        """Raise `InputError` when the lines that are written come from another head."""
        if self.lines and self.place.head and self.place.head != head:
            raise self.head_changed(f"{head[:_SHOWN_DIGITS]} answers now")

    def head_changed(self, how: str = "the provider has changed it") -> InputError:
        """Return the error of a result that cannot go on because its head has changed."""
        return InputError(
            f"{self} holds labels of the head {self.place.head[:_SHOWN_DIGITS]}, and {how}.",
            hint="No result mixes two heads: write to another file, or delete this one and its .json to begin again.",
            code=ErrorCode.HEAD_CHANGED,
        )

    def write(self, lines: Sequence[str]) -> None:
        """Write lines; those of a file are on disk when it returns."""
        self._write("".join(f"{line}\n" for line in lines).encode())
        self.lines += len(lines)

    def finish(self) -> None:
        """Put the result in its place."""
        self._file.unlink(missing_ok=True)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Give back what is open; idempotent."""


class StreamResults(Results):
    """Lines that are written through to an open stream, each as soon as it is known."""

    durable = False

    def __init__(self, stream: BinaryIO, file: Path, settings: str, *, owned: bool) -> None:
        kept = Place.load(file)
        # Lines of an earlier process may never have arrived, so only a session with all answers is of use.
        usable = kept is not None and kept.settings == settings and kept.first == 0
        super().__init__(file, kept if usable and kept is not None else Place(settings=settings))
        self._stream = stream
        self._owned = owned

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError as error:
            if not self._owned:
                # Whoever reads standard output, such as `head`, has what it wants.
                raise
            raise SecurealignError(
                f"The reader of the output has gone; {self.lines} lines were written.",
                hint="Give the same command again: lines begin with the first, and no query is charged twice.",
                code=ErrorCode.FILE_INVALID,
            ) from error

    def __str__(self) -> str:
        return "The output"

    def close(self) -> None:
        """Close the stream unless it is standard output."""
        if self._owned:
            # What a reader that has gone does not take was flushed, and reported, before.
            with suppress(BrokenPipeError):
                self._stream.close()


class FileResults(Results):
    """A file that is partial until it is complete; raises `InputError` where work cannot begin or go on."""

    durable = True

    def __init__(self, path: Path, settings: str, *, overwrite: bool) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        if path.exists() and not overwrite:
            raise _refused(f"{path} exists.", "Name another file, or use --overwrite.")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._partial, flags, 0o600)
        super().__init__(self._partial.with_name(f"{self._partial.name}.json"), Place(settings=settings))
        try:
            if not try_lock(self._descriptor):
                raise KeyStoreError(
                    f"Another process writes {self._partial}.", hint="Wait for it.", code=ErrorCode.STORE_LOCKED
                )
            self._go_on(settings, overwrite=overwrite)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __str__(self) -> str:
        return str(self._partial)

    def _go_on(self, settings: str, *, overwrite: bool) -> None:
        """Take up the lines of an earlier process, without one that is torn."""
        kept = Place.load(self._file)
        if kept is not None and kept.settings == settings:
            self.place = kept
            self.lines = self._whole_lines()
        elif os.fstat(self._descriptor).st_size:
            if not overwrite:
                raise _refused(
                    f"{self._partial} is the beginning of a result of another map, encoder or options.",
                    "Give the same options to go on, use --overwrite to begin again, or name another file.",
                )
            os.ftruncate(self._descriptor, 0)
        if self.lines < self.place.lines:
            raise _refused(
                f"{self._partial} holds {self.lines} lines, and {self.place.lines} were written.",
                "Delete it and its .json to begin again.",
            )

    def _whole_lines(self) -> int:
        """Return the number of whole lines, and cut what follows the last one."""
        count = end = offset = 0
        last = tail = b""
        while block := os.pread(self._descriptor, _BLOCK, offset):
            *whole, rest = (tail + block).split(b"\n")
            count += len(whole)
            last, tail = (whole[-1] if whole else last), rest
            offset += len(block)
            end = offset - len(tail)
        if tail:
            os.ftruncate(self._descriptor, end)
        found = re.match(rb'(?:\{"index": )?([0-9]+)', last)
        if count and (found is None or int(found[1]) != count - 1):
            raise _refused(f"{self._partial} was changed: its last line is not number {count - 1}.", "Delete it.")
        return count

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    def finish(self) -> None:
        """Give the partial file its name; durable when it returns."""
        replace_durably(self._partial, self._path)
        super().finish()

    def close(self) -> None:
        """Close the file; one in which nothing was written is removed, unless a session is open for it."""
        if self._descriptor >= 0:
            if not (self.lines or self.place.session):
                self._partial.unlink(missing_ok=True)
                self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def open_results(output: Path | None, settings: str, state: Path, *, overwrite: bool = False) -> Results:
    """Return where results go: a file, a pipe or device that is written through, or standard output for None and "-".

    `state` is the file that says how far the work of a stream is. Raises `InputError` for a folder that is missing.
    """
    if output is None or str(output) == "-":
        return StreamResults(sys.stdout.buffer, state, settings, owned=False)
    # A link keeps its place; what it leads to is replaced.
    path = output.resolve()
    if not path.parent.is_dir():
        raise _refused(f"The folder {path.parent} does not exist.", "Make it, or name another file.")
    if path.is_dir():
        raise _refused(f"{path} is a folder.", "Name a file.")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        return StreamResults(path.open("wb"), state, settings, owned=True)
    results = FileResults(path, settings, overwrite=overwrite)
    sync_folder(path.parent)
    return results


def require_other_file(source: str | None, output: Path | None) -> None:
    """Raise `InputError` where the results would take the place of the inputs."""
    if source is not None and output is not None and output.is_file() and output.resolve() == Path(source).resolve():
        raise _refused(f"{output} holds the inputs.", "Name another file for the results.")


def _refused(what: str, hint: str) -> InputError:
    return InputError(what, hint=hint, code=ErrorCode.FILE_INVALID)
