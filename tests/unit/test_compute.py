"""How many processors a process may use, and products that are divided among threads."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from securealign import compute
from securealign.compute import Compute, one_blas_thread, use_threads
from securealign.he.lwe import products


@pytest.fixture(autouse=True)
def own_threads():
    yield
    use_threads(None)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({}, []),
        ({"a/b/cpu.max": "max 100000"}, []),
        ({"a/b/cpu.max": "150000 100000"}, [2]),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000", "cpu.max": "50000 100000"}, [4, 1]),
        ({"a/b/cpu.max": "nonsense"}, []),
    ],
)
def test_quotas_are_those_of_the_group_and_of_all_above_it(tmp_path, limits, found):
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    for name, content in limits.items():
        (tmp_path / "root" / name).write_text(content)
    (tmp_path / "membership").write_text("1:cpu:/other\n0::/a/b\n")
    assert compute._quotas(tmp_path / "membership", tmp_path / "root") == found
    assert compute._quotas(tmp_path / "none", tmp_path / "root") == []


def test_a_process_uses_no_more_threads_than_processors_that_it_may_use():
    assert 1 <= compute.processors() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_work_is_divided_into_parts_that_cover_all_rows_once(threads):
    for rows in (1, 2, 5, 100):
        done = np.zeros(rows, dtype=int)

        def work(part, done=done):
            done[part] += 1

        Compute(threads).each(rows, work)
        assert (done == 1).all()


def test_an_error_in_one_part_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        Compute(2).each(4, lambda part: 1 / part.start)


def test_blas_has_one_thread_until_the_last_who_asked_for_it_has_left():
    before = blas_threads()
    first_in, second_out = threading.Event(), threading.Event()

    def hold():
        with one_blas_thread():
            first_in.set()
            second_out.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    first_in.wait()
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == {1}
    second_out.set()
    holder.join()
    assert blas_threads() == before


def test_products_do_not_depend_on_the_number_of_threads():
    random = np.random.default_rng(0)
    n, rows, width, left = 300, 500, 40, 37
    words = random.integers(0, 1 << 63, size=(rows, n), dtype=np.int64).astype(np.uint64)
    halves = random.integers(0, 1 << 16, size=(rows, n)).astype(np.uint16)
    ternary = random.integers(-1, 2, size=(n, width)).astype(np.float64)
    operand = random.integers(-1000, 1000, size=(rows, left)).astype(np.float64)

    def made(threads):
        use_threads(threads)
        product = products.IntegerProduct(left, n, 80)
        product.add(operand, [(words, halves)])
        result = product.result()
        return *products.public_times_ternary((words, halves), ternary, 80), result.low, result.high

    expected = made(1)
    for threads in (2, 3, 5):
        assert all(np.array_equal(one, other) for one, other in zip(made(threads), expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own():
    use_threads(2)
    compute.compute().each(4, lambda part: None)
    child = os.fork()
    if child == 0:
        done = []
        compute.compute().each(4, done.append)
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
