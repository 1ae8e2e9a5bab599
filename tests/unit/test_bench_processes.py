"""Processes that measure: their answers, their errors, their deaths, and the memory of what they own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.work import add, fail, follow, leave, stay, vanish

from securealign.errors import ErrorCode, SecurealignError, SuiteError, TransportError
from securealign.harness.bench import processes
from securealign.harness.bench.inputs import synthetic_embeddings
from securealign.harness.bench.processes import MemoryWatch, Worker, answers, descendants, died, peak_memory
from securealign.harness.bench.separate import inference_memory, training_memory

MEBIBYTE = 1 << 20


def test_a_worker_answers():
    with Worker("adder", add, 2, 3) as worker:
        assert worker.answer() == 5


def test_an_error_of_the_work_arrives_as_it_was_raised():
    with Worker("planner", fail) as worker, pytest.raises(SuiteError, match="The plan fails") as caught:
        worker.answer()
    assert (caught.value.code, caught.value.hint) == (ErrorCode.PLAN_INFEASIBLE, "Plan again.")


@pytest.mark.parametrize(("work", "how"), [(leave, "with exit code 3"), (vanish, "by signal SIGKILL")])
def test_the_death_of_a_process_is_an_error_that_says_whose_and_how(work, how):
    with (
        Worker("client of lwe", work) as worker,
        pytest.raises(SuiteError, match=f"client of lwe ended {how}") as caught,
    ):
        worker.answer()
    assert caught.value.code is ErrorCode.SUITE_UNAVAILABLE


def test_a_connection_lost_to_a_dead_process_is_its_death(monkeypatch):
    # However long the process takes to start and to die on a busy machine.
    monkeypatch.setattr(processes, "_DYING_SECONDS", None)

    def serve():
        with Worker("provider of lwe", leave):
            raise TransportError("The connection was lost.")

    with pytest.raises(SuiteError, match="provider of lwe ended with exit code 3"):
        serve()


def test_an_error_of_ours_ends_the_process():
    def interrupt():
        with Worker("sleeper", stay):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()


@pytest.mark.thorough
def test_of_two_errors_the_cause_is_raised():
    with (
        Worker("client", follow) as client,
        Worker("provider", fail) as provider,
        pytest.raises(SuiteError, match="The plan fails"),
    ):
        answers(client, provider)


def test_an_exit_code_that_is_not_known_is_told_as_it_is():
    assert "with exit code None" in died("worker", None).message


def test_peak_memory_is_in_bytes_and_does_not_fall():
    before = peak_memory()
    assert MEBIBYTE < before < 1 << 40
    assert peak_memory() >= before


def test_a_system_that_does_not_say_its_peak_memory_is_an_error(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "Name: python\n")
    with pytest.raises(OSError, match="VmHWM"):
        peak_memory()


HOLD = "held = bytearray(64 << 20); print(flush=True); input()"


def test_the_peak_of_a_worker_counts_even_after_its_end():
    watch = MemoryWatch()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        assert worker.pid in set(descendants(os.getpid()))
        watch.sample()
        worker.communicate(b"\n")
    assert peak_memory(worker.pid) == 0
    watch.sample()
    assert watch.peak() >= peak_memory() + 64 * MEBIBYTE


def test_children_of_children_are_found():
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        found = set(descendants(os.getpid()))
        worker.communicate(b"\n")
    assert worker.pid in found
    assert len(found) >= 2


@pytest.mark.thorough
def test_both_phases_measure_each_party_in_its_own_process():
    z_a, z_b = synthetic_embeddings(40, 6, 4)
    for peaks in (training_memory("plaintext", z_a, z_b), inference_memory("plaintext", z_b, 3, 8)):
        assert all(10 * MEBIBYTE < peak < 10 << 30 for peak in (peaks.client, peaks.provider))


@pytest.mark.thorough
def test_a_session_that_one_party_refuses_ends_with_its_error():
    z_a, z_b = synthetic_embeddings(4, 6, 8)
    with pytest.raises(SecurealignError) as caught:
        training_memory("plaintext", z_a, z_b)
    assert caught.value.code is ErrorCode.TOO_FEW_ROWS
