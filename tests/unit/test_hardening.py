"""A party process leaves no core dump and shows its memory to no other process of its user."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HARDEN = "from securealign.hardening import harden_process; harden_process();"
LOOK = """
import json, os, resource, sys
print(json.dumps({"core": resource.getrlimit(resource.RLIMIT_CORE), "umask": os.umask(0)}), flush=True)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_core_dumps_are_off_and_new_files_are_the_owners():
    assert run(HARDEN + LOOK) == {"core": [0, 0], "umask": 0o077}


def test_children_write_no_core_dumps_either():
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LOOK!r}], check=True)"
    assert run(HARDEN + child) == {"core": [0, 0], "umask": 0o077}


def test_without_hardening_the_process_has_the_limits_of_its_parent():
    assert run("import os; os.umask(0o022);" + LOOK)["umask"] == 0o022


def test_it_may_be_called_twice():
    assert run(HARDEN + HARDEN + LOOK)["core"] == [0, 0]


@linux
def test_the_process_is_not_dumpable():
    get = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0));"
    assert run(get) == 1
    assert run(HARDEN + get) == 0


@linux
def test_it_still_finds_its_own_figures_for_metrics():
    read = "from securealign.ops.observability import Metrics; print(int(b'process_open_fds' in Metrics().render()));"
    assert run(HARDEN + read) == 1


#: Two processes of one user without privileges; prints whether the second can look into the first.
NEIGHBOURS = """
import ctypes, os

def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user has made it undumpable

def peek(number):
    try:
        open(f"/proc/{number}/environ", "rb").close()
    except PermissionError:
        return 0
    return 1

ready, go_on = os.pipe(), os.pipe()
from securealign.hardening import harden_process
first = os.fork()
if not first:
    become_nobody()
    PROTECT
    os.write(ready[1], b"1")
    os.read(go_on[0], 1)
    os._exit(0)
os.read(ready[0], 1)
second = os.fork()
if not second:
    become_nobody()
    os._exit(peek(first))
seen = os.waitstatus_to_exitcode(os.waitpid(second, 0)[1])
os.write(go_on[1], b"1")
os.waitpid(first, 0)
print(seen)
"""


@linux
def test_its_memory_is_closed_to_other_processes_of_its_user():
    if not run(NEIGHBOURS.replace("PROTECT", "pass")):
        pytest.skip("this system closes the memory of every process")
    assert not run(NEIGHBOURS.replace("PROTECT", "harden_process()"))
