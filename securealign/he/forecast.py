"""What a session will send and compute, known from its shape alone; suites say it, plans are made of it.

Amounts of work have no unit of time: how long a call takes is a sum over its amounts, each times what a machine needs
for one, which is measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securealign.he.estimator import SecurityEstimate

#: Amounts by kind of work, such as elements of randomness to expand, or products to add up.
Work = Mapping[str, float]
#: A kind that every call has once.
CALL = "call"


@dataclass(frozen=True, kw_only=True)
class CovarianceForecast:
    """The messages and the work of one covariance."""

    #: Rows that are encrypted at a time; a message holds rows of one such tile only.
    tile: int
    #: Bytes of a message of rows besides its rows, and of each row.
    header_bytes: int
    row_bytes: int
    #: What each side holds at its worst moment.
    client_memory: int
    provider_memory: int
    #: Expected error of an entry of the product, relative to the norms of the two columns that made it.
    relative_error: float
    #: Work of each call by its name in the interface: "key", "encrypt" and "absorb" of one row, "decrypt", "make" for
    #: the provider's side, "accept_key", "finish".
    work: Mapping[str, Work]
    #: Returns the cost of reading the provider's randomness from what a forged key makes one group of columns show; it
    #: takes long to estimate. None where it is not.
    forged_key: Callable[[], SecurityEstimate] | None = None

    def __post_init__(self) -> None:
        _require_calls(self.work, COVARIANCE_CALLS)


@dataclass(frozen=True, kw_only=True)
class HeadForecast:
    """The messages and the work of one head."""

    #: Bytes of a message of queries besides them, and of each query.
    query_header_bytes: int
    query_bytes: int
    #: Bytes of a message of answers besides them, and of each answer.
    answer_header_bytes: int
    answer_bytes: int
    #: What each side holds at its worst moment.
    client_memory: int
    provider_memory: int
    #: Expected error of a logit, relative to the norms of query and class.
    relative_error: float
    #: Work of each call by its name in the interface: "key", "load_pool", "encrypt" and "decrypt" of one query, "make",
    #: "accept_key", "prepare", "evaluate" of one query; for labels also "choose", "garble" and "load_tables".
    work: Mapping[str, Work]
    #: As of a covariance, for the slots of one pool.
    forged_key: Callable[[], SecurityEstimate] | None = None

    def __post_init__(self) -> None:
        _require_calls({call: work for call, work in self.work.items() if call not in LABEL_CALLS}, HEAD_CALLS)


COVARIANCE_CALLS = ("key", "encrypt", "decrypt", "make", "accept_key", "absorb", "finish")
HEAD_CALLS = ("key", "load_pool", "encrypt", "decrypt", "make", "accept_key", "prepare", "evaluate")
#: Calls of label-only answers, beside the others.
LABEL_CALLS = ("choose", "garble", "load_tables")


def _require_calls(work: Mapping[str, Work], calls: tuple[str, ...]) -> None:
    if set(work) != set(calls):
        raise ValueError(f"A forecast describes the calls {', '.join(calls)}.")
