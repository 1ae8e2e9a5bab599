"""How many threads an experiment's linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep linear algebra to one thread; models are not affected.

    numpy and scipy bring a BLAS each. Many small products in turn leave the threads of one spinning on the cores that
    the other needs, which costs more than a second thread gains.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
