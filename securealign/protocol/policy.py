"""What a provider allows."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A provider's rules for one session."""

    #: Public rows for each dimension of the client's encoder. At N <= d_B the cross-covariance would reveal Z_A
    #: exactly, so that much is refused whatever the ratio.
    min_rows_per_dimension: float = 1.0
    #: Queries answered in one session; d_A + 1 answers determine the head.
    max_queries: int = 100_000
    #: Whether clients learn the names of the classes.
    publish_class_names: bool = True
    #: Whether a suite must hide the provider's operand.
    require_function_private: bool = False
    #: Whether a suite without encryption is allowed; true only for loopback and simulation.
    allow_unencrypted: bool = False

    def check_training(self, rows: int, dimension: int, limits: Limits) -> None:
        """Raise `RemoteProtocolError` when limits or the minimum of public rows refuse a training session."""
        if dimension > limits.max_dimension or rows > limits.max_rows:
            raise RemoteProtocolError(
                f"{rows} rows of dimension {dimension} exceed {limits.max_rows} of {limits.max_dimension}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        if rows <= dimension or rows < self.min_rows_per_dimension * dimension:
            raise RemoteProtocolError(
                f"{rows} public rows are too few for dimension {dimension}; "
                f"policy asks for more than {max(1.0, self.min_rows_per_dimension):g} per dimension.",
                code=ErrorCode.TOO_FEW_ROWS,
            )
