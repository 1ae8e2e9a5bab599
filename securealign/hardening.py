"""The first steps of a party's process: no core dumps, no debuggers, files for their owner alone."""

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4
_OWNER_ONLY = 0o077


def harden_process() -> None:
    """Write no core dumps, let no other process of this user read this memory, and make new files the owner's alone.

    Keys and embeddings are in memory, and Python cannot wipe them. The limit stops dumps into files, of child
    processes too; a program named in /proc/sys/kernel/core_pattern is called in spite of it, unless the process is not
    dumpable, which also keeps debuggers of the same user out (Linux only: prctl(2), core(5)). Children that run another
    program are dumpable again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(_OWNER_ONLY)
    if sys.platform == "linux":
        _forbid_dumps()


def _forbid_dumps() -> None:
    # Some sandboxes refuse prctl; then the limit above remains.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
