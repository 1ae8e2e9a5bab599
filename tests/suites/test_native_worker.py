"""A worker may die, hang or lie; its party says what happened in one line, and goes on."""

from __future__ import annotations

import gc
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.contract import child_processes
from support.engines import PROFILE, Temptation

from securealign.errors import CiphertextError, ErrorCode, SuiteError
from securealign.he.native import worker as worker_module
from securealign.he.native.frames import encode, receive
from securealign.he.native.serve import serve
from securealign.he.native.suite import why_unavailable
from securealign.he.native.worker import Worker

#: What a worker can be told to do, and what its party says of it; "its worker" is what they have in common.
ENDS = {
    "abort": "its worker died (signal SIGABRT)",
    "kill": f"its worker died (signal {signal.SIGRTMIN + 5})",
    "exit": "its worker died (exit code 7)",
    "leave": "its worker died (exit code 3)",
    "leave_speechless": "its worker died (exit code 1)",
    "half_a_frame": None,
    "wait": None,
    "garbage": "its worker's answer is malformed",
    "huge": f"1 byte strings of {1 << 40} are too large",
    "many": "4294967295 byte strings of 0 are too large",
    "two_values": "its worker answered 'do' with 2 values",
    "no_value": "its worker answered 'do' with 0 values",
    "other_outcome": "its worker answered 'do' with int",
    "answer_text": "its worker answered 'do' with str",
}
#: What leaves a worker able to answer the next call.
REFUSALS = {
    "fail": "ValueError: ",
    "answer_dictionary": "TypeError: dict is no value of a frame",
    "answer_vector": "TypeError: ndarray is no value of a frame",
    "answer_numbers_as_bytes": "TypeError: ",
}
LATE = "its worker did not answer within 0 seconds"
KINDS = {"call": SuiteError, "read": CiphertextError}


@pytest.fixture
def worker():
    with closing(Worker(PROFILE, "Probe")) as worker:
        yield worker


@pytest.fixture
def impatient(monkeypatch):
    """Let calls that never end time out: they wait for ever, so it does not matter how soon."""
    return lambda: monkeypatch.setattr(worker_module, "CALL_SECONDS", 0.1)


def refusal_of(worker: Worker, how: str, order: str) -> SuiteError | CiphertextError:
    """Return the error of a call with our own values, or of one that reads a peer's."""
    with pytest.raises(KINDS[how]) as refusal:
        getattr(worker, how)(int, "do", order)
    assert type(refusal.value) is KINDS[how]
    return refusal.value


def assert_presentable(error: Exception) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 400


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def assert_gone(pid: int) -> None:
    assert pid not in child_processes()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_values_pass_in_both_directions(worker):
    assert worker.call(int, "echo", 3) == 3
    assert worker.call(str, "echo", "text") == "text"
    assert worker.read(bytes, "echo", b"bytes") == b"bytes"
    assert worker.read(list, "echo", [b"a", b""]) == [b"a", b""]
    assert (worker.read(np.ndarray, "echo", np.eye(3)) == np.eye(3)).all()


# What goes wrong


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "order"), [*(("read", order) for order in ENDS), *(("call", order) for order in ("abort", "exit", "huge"))]
)
def test_a_worker_that_ends_or_lies_is_an_error_that_names_the_cause(worker, impatient, how, order):
    if ENDS[order] is None:
        impatient()
    error = refusal_of(worker, how, order)
    assert (ENDS[order] or LATE) in str(error)
    assert_presentable(error)
    assert error.code is (ErrorCode.SUITE_UNAVAILABLE if how == "call" else ErrorCode.CIPHERTEXT_MALFORMED)
    assert_gone(worker.pid)
    for later in KINDS:
        assert "its worker has ended" in str(refusal_of(worker, later, order))


def test_what_an_engine_refuses_is_an_error_in_one_line_and_the_next_bytes_may_be_better(worker):
    for order, explanation in REFUSALS.items():
        error = refusal_of(worker, "read", order)
        assert explanation in str(error)
        assert_presentable(error)
        assert "/build" not in str(error)
        assert worker.read(int, "echo", 3) == 3


def test_a_worker_that_failed_its_own_party_is_ended(worker):
    assert_presentable(refusal_of(worker, "call", "fail"))
    assert_gone(worker.pid)


def test_a_failure_that_is_not_explained_in_text_is_none_the_less_one(worker, impatient):
    assert "no reason given" in str(refusal_of(worker, "read", "failed_number"))


def test_a_stream_that_ends_before_its_process_does(worker, monkeypatch):
    monkeypatch.setattr(worker_module, "_LAST_SECONDS", 0.1)
    assert "its worker died (its stream ended)" in str(refusal_of(worker, "read", "hang_up"))
    assert_gone(worker.pid)


def test_a_pickle_in_place_of_an_answer_is_not_loaded(worker, tmp_path):
    created = tmp_path / "created"
    refusal_of(worker, "read", f"tempt {created}")
    assert not created.exists()
    # The control: the same pickle does what it says where it is loaded.
    pickle.loads(pickle.dumps(Temptation(str(created))))  # noqa: S301
    assert created.exists()


def test_no_call_reaches_what_is_not_an_engines_method(worker):
    for name in ("__class__", "_private", "missing"):
        with pytest.raises(CiphertextError, match="AttributeError"):
            worker.read(int, name)


def test_an_interrupted_call_leaves_no_answer_for_the_next(worker, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(worker_module, "receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.call(int, "echo", 1)
    monkeypatch.undo()
    with pytest.raises(SuiteError, match="has ended"):
        worker.call(int, "echo", 2)


@pytest.mark.parametrize("order", ["abort", "leave", "wait", "fail", "garbage"])
def test_a_worker_that_does_not_open_is_an_error_and_leaves_nothing(order, impatient):
    before = child_processes()
    if order == "wait":
        impatient()
    with pytest.raises(SuiteError) as refusal:
        Worker(PROFILE, "Probe", order)
    assert refusal.value.code is ErrorCode.SUITE_UNAVAILABLE
    assert_presentable(refusal.value)
    # While the error, and with it every frame that it passed through, still lives.
    assert child_processes() == before


def test_a_worker_that_cannot_be_started_is_an_error_that_says_what_to_do(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = open_files()
    with pytest.raises(SuiteError, match=r"temporarily unavailable\. Raise the limits"):
        Worker(PROFILE, "Probe")
    assert open_files() == before


@pytest.mark.thorough
def test_a_library_that_is_missing_or_does_not_work_is_unavailable_for_a_reason():
    assert why_unavailable(PROFILE) == ""
    absent = replace(PROFILE, package="no_such_package")
    assert why_unavailable(absent) == "no_such_package is not installed; install it"
    for engine, cause in {"no.such.module": "ModuleNotFoundError", "json": "AttributeError"}.items():
        reason = why_unavailable(replace(PROFILE, engine=engine))
        assert reason.startswith("numpy is installed but does not work (")
        assert cause in reason
        assert reason.endswith("; install it")


def test_a_library_is_imported_by_its_worker_and_never_by_the_party(tmp_path, monkeypatch):
    imported = tmp_path / "imported"
    (tmp_path / "a_library.py").write_text(f"open({str(imported)!r}, 'w').close()\n")
    (tmp_path / "an_engine.py").write_text("import a_library\nclass Probe: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert why_unavailable(replace(PROFILE, package="a_library", engine="an_engine")) == ""
    assert imported.exists()
    assert not {"a_library", "an_engine"} & sys.modules.keys()


# The end


@pytest.mark.thorough
def test_workers_leave_neither_processes_nor_descriptors(impatient):
    before = child_processes(), open_files()
    for order in ["abort", "exit", "leave", "garbage", "fail"] * 2:
        worker = Worker(PROFILE, "Probe")
        refusal_of(worker, "read", order)
        worker.close()
    for _ in range(5):
        Worker(PROFILE, "Probe").close()
    for order in ["abort", "fail", "leave", "garbage", "two_values"]:
        with pytest.raises(SuiteError):
            Worker(PROFILE, "Probe", order)
    # The control: what lives is counted.
    with closing(Worker(PROFILE, "Probe")) as worker:
        assert child_processes() == before[0] | {worker.pid}
        assert open_files() > before[1]
    assert (child_processes(), open_files()) == before


def test_closing_twice_is_closing(worker):
    worker.close()
    worker.close()
    assert_gone(worker.pid)
    for how, error in KINDS.items():
        with pytest.raises(error, match="has ended"):
            getattr(worker, how)(int, "echo", 1)


def test_a_worker_that_the_system_killed_is_an_error_that_says_so(worker):
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(CiphertextError, match="signal SIGKILL"):
        worker.read(int, "echo", 1)
    assert_gone(worker.pid)


@pytest.mark.thorough
def test_a_worker_that_is_forgotten_ends():
    pid = Worker(PROFILE, "Probe").pid
    gc.collect()
    assert_gone(pid)


PARTY = """
import sys
from support.engines import PROFILE
from securealign.he.native.worker import Worker
worker = Worker(PROFILE, "Probe")
print(worker.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.thorough
@pytest.mark.parametrize("end", ["kill", "interpreter"])
def test_a_worker_whose_party_is_gone_ends_by_itself(end):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARTY], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as party:
        pid = int(party.stdout.readline())
        descriptor = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            # The control: it lives as long as its party does.
            assert not poll.poll(0)
            if end == "kill":
                party.kill()
            party.stdin.close()
            assert poll.poll(600_000)
        finally:
            os.close(descriptor)


ALONE = """
import socket, sys
from securealign.he.native import serve
serve.CALL_SECONDS = float(sys.argv[1])
ours, theirs = socket.socketpair()
ours.sendall(serve.encode("open", []) + serve.encode("do", [sys.argv[2]]) + serve.encode("echo", [1]))
ours.shutdown(socket.SHUT_WR)
serve.serve(theirs, "support.engines", "Probe")
"""


@pytest.mark.thorough
def test_a_call_that_never_ends_is_ended_by_an_alarm_even_when_no_party_is_left():
    def status(*arguments: str) -> int:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run([sys.executable, "-c", ALONE, *arguments], env=environment, check=False).returncode

    assert status("0.1", "wait") == -signal.SIGALRM
    # The control: a call that ends is not ended, nor is what comes after it.
    assert status("600", "fail") == 0


def test_a_worker_answers_every_call_until_its_stream_ends():
    ours, theirs = socket.socketpair()
    server = threading.Thread(target=serve, args=(theirs, "support.engines", "Probe"))
    server.start()
    with theirs, ours:
        answers = []
        for name, values in (("open", []), ("echo", [b"bytes"]), ("do", ["fail"]), ("_private", []), ("echo", [1])):
            ours.sendall(encode(name, values))
            answers.append(receive(ours, 600))
        ours.shutdown(socket.SHUT_WR)
        server.join()
    failed = [text for outcome, [text] in answers if outcome == "failed"]
    assert [outcome for outcome, _ in answers] == ["done", "done", "failed", "failed", "done"]
    assert [values for outcome, values in answers if outcome == "done"] == [[0], [b"bytes"], [1]]
    assert failed[0].startswith("ValueError: ")
    assert failed[1] == "AttributeError: _private"


def test_a_worker_whose_answer_nobody_takes_ends():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(encode("open", []))
        ours.close()
        serve(theirs, "support.engines", "Probe")
    # Its process would end here, and the alarm with it.
    signal.setitimer(signal.ITIMER_REAL, 0)


# What a worker may use


def test_a_worker_is_confined(worker):
    with pytest.raises(CiphertextError, match="MemoryError"):
        worker.read(int, "memory", 17 << 10)
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    assert "Max core file size        0" in limits


def test_an_interrupt_of_the_terminal_is_left_to_the_party(worker):
    os.kill(worker.pid, signal.SIGINT)
    assert worker.call(int, "echo", 1) == 1


def test_a_worker_finds_modules_where_its_party_does_and_not_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with closing(Worker(PROFILE, "Probe")) as worker:
        assert str(tmp_path) not in json.loads(worker.call(str, "path"))
    # The control: a module that is run by its name looks in the working folder first.
    assert subprocess.run([sys.executable, "-m", "numpy"], check=False).returncode == 9


def test_a_worker_holds_no_descriptor_of_its_party():
    secret = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        with closing(Worker(PROFILE, "Probe")) as worker, closing(Worker(PROFILE, "Probe")) as other:
            for pid in (worker.pid, other.pid):
                held = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
                assert __file__ not in held
                assert sum(name.startswith("socket:") for name in held) == 1
    finally:
        os.close(secret)
