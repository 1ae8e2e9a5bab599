"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from securealign.files import write_atomically


def test_a_file_is_written_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_permissions_are_as_asked_whatever_the_umask_and_the_old_file(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    umask = os.umask(0o077)
    try:
        write_atomically(path, b"new", mode=mode)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_that_root_replaces_keeps_its_owner(tmp_path, monkeypatch):
    """A key that root renews would else be unreadable for the service that needs it."""
    path, given = tmp_path / "key.pem", []
    monkeypatch.setattr(os, "fchown", lambda descriptor, *owner: given.append(owner))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    write_atomically(path, b"new")
    assert given == []
    write_atomically(path, b"renewed")
    assert given == [(path.stat().st_uid, path.stat().st_gid)]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    write_atomically(path, b"of its owner")
    assert len(given) == 1


def test_a_secret_file_is_never_readable_by_others(tmp_path, monkeypatch):
    seen = []
    replace = Path.replace

    def watching(self, target):
        seen.append(stat.S_IMODE(self.stat().st_mode))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watching)
    write_atomically(tmp_path / "key", b"secret", mode=0o600)
    assert seen == [0o600]


@pytest.mark.parametrize("step", ["fchmod", "fsync", "fdopen"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error, existed):
    path = tmp_path / "file"
    if existed:
        path.write_bytes(b"old")

    def fail(*_args):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([b"old"] if existed else [])


def test_a_failure_to_replace_leaves_no_temporary_file(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        write_atomically(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_a_long_name_does_not_matter_for_the_temporary_file(tmp_path):
    path = tmp_path / ("x" * 240)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
