"""One writer at a time, and none that waits for ever."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from securealign.errors import ErrorCode, KeyStoreError
from securealign.locks import exclusive

HOLDER = """
import sys
from pathlib import Path
from securealign.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def never(_seconds):
    raise AssertionError("it waited")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "file"


def test_the_lock_is_a_closed_file_beside_the_path(path):
    with exclusive(path, pause=never):
        assert [file.name for file in path.parent.iterdir()] == ["file.lock"]
    assert stat.S_IMODE(path.with_name("file.lock").stat().st_mode) == 0o600


def test_it_can_be_taken_again_after_a_failure(path):
    with pytest.raises(ZeroDivisionError), exclusive(path):
        raise ZeroDivisionError
    with exclusive(path, pause=never):
        pass


def test_whoever_waits_in_vain_is_told_so(path):
    pauses = []
    second = exclusive(path, attempts=3, pause=pauses.append)
    with exclusive(path), pytest.raises(KeyStoreError, match="Another process keeps") as error:
        second.__enter__()
    assert error.value.code is ErrorCode.STORE_LOCKED
    assert len(pauses) == 2


def test_whoever_waits_gets_the_lock_when_it_is_free(path):
    held = exclusive(path)
    held.__enter__()
    with exclusive(path, pause=lambda _seconds: held.__exit__(None, None, None)):
        pass


def test_threads_exclude_each_other(path):
    count = 0

    def work():
        nonlocal count
        for _ in range(50):
            with exclusive(path, attempts=10_000):
                seen = count
                os.sched_yield()
                count = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 200


def test_the_system_frees_the_lock_of_a_process_that_was_killed(path):
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(KeyStoreError), exclusive(path, attempts=1):
            pass
        holder.kill()
        holder.wait()
    with exclusive(path, pause=never):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(path, tmp_path):
    path.parent.mkdir()
    path.with_name("file.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyStoreError, match="symbolic links") as error, exclusive(path):
        pass
    assert error.value.code is ErrorCode.FILE_INVALID
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(KeyStoreError, match=f"{tmp_path / 'file'}.*cannot be used") as error,
        exclusive(tmp_path / "file" / "store"),
    ):
        pass
    assert error.value.code is ErrorCode.FILE_INVALID
