"""What a provider allows."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le

from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError
from securealign.he.interface import HeadShape, LabelTerms, SuiteInfo
from securealign.limits import Limits
from securealign.protocol.policy.budget import QueryLimits
from securealign.protocol.policy.privacy import Privacy

#: What an answer holds.
Output = Literal["logits", "label"]
#: Thresholds of confidence at most: each shows one more bit of every answer.
MAX_THRESHOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that the provider's operator sets, in the section [policy] of its file; all have a default.

    A configuration checks the bounds of the annotations. Raises `ConfigurationError` for rules of the output that
    exclude each other.
    """

    #: Public rows for each dimension of the client's encoder. At N <= d_B + 1, the columns of a session, the
    #: cross-covariance would reveal Z_A exactly, so that much is refused whatever the ratio.
    min_rows_per_dimension: Annotated[float, Ge(1)] = 1.0
    #: What all sessions of one peer may be charged over one public data set, as a fraction of N; the sum stays below
    #: it. A column is charged as 2.1 to 3.4, see `rank_charge`. One half leaves at least as much unseen as is shown and
    #: room to align again: two sessions at N = 10,000 and d_B = 768.
    max_rank_fraction: Annotated[float, Gt(0), Le(1)] = 0.5
    #: What an answer holds: all logits, which share the head, or the label alone.
    output: Output = "logits"
    #: With labels: a query whose logits are all below it gets no label; None gives every query one.
    abstain_below: float | None = None
    #: With labels and `abstain_below`: up to three ascending levels above it; an answer shows which of them the largest
    #: logit exceeds.
    confidence_thresholds: tuple[float, ...] = ()
    #: Bits that a logit may hold, at the cost of its precision; None for what the suite gives, 18 under `lwe`.
    output_bits: Annotated[int, Ge(4), Le(64)] | None = None
    #: Public rows at least, whatever the client's dimension.
    min_rows: Annotated[int, Ge(1)] = 1
    #: Queries answered in all sessions of one peer; d_A + 1 answers determine the head.
    max_queries: Annotated[int, Gt(0)] = 100_000
    #: Bits that the answers to one peer may hold in all sessions; the head has about K (d_A + 1) times its precision.
    max_answer_bits: Annotated[int, Gt(0)] | None = None
    #: Whether clients learn the names of the classes.
    publish_class_names: bool = True
    #: Whether a suite must hide the provider's operand.
    require_function_private: bool = False

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise ConfigurationError(
                f"An output is no {self.output!r}.", hint=f"Use one of {', '.join(get_args(Output))}."
            )
        if self.output == "logits" and (self.abstain_below is not None or self.confidence_thresholds):
            raise ConfigurationError(
                "abstain_below and confidence_thresholds belong to labels, and answers are logits.",
                hint='Set output = "label", or leave them out.',
            )
        if self.output == "label" and self.output_bits is not None:
            raise ConfigurationError(
                "output_bits coarsens logits, and answers are labels.", hint="Leave out output_bits."
            )
        if self.confidence_thresholds and self.abstain_below is None:
            raise ConfigurationError(
                "confidence_thresholds need abstain_below: confidence is counted from it.",
                hint="Set abstain_below to a level that every query of interest exceeds.",
            )
        levels = self.levels
        ascending = all(low < high for low, high in pairwise(levels))
        if len(self.confidence_thresholds) > MAX_THRESHOLDS or not (ascending and all(map(math.isfinite, levels))):
            raise ConfigurationError(
                f"abstain_below and at most {MAX_THRESHOLDS} confidence_thresholds are finite and ascend.",
                hint="For instance abstain_below = 1.0 and confidence_thresholds = [2.0, 4.0].",
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The threshold of abstention, if there is one, and those of confidence."""
        return (*(() if self.abstain_below is None else (self.abstain_below,)), *self.confidence_thresholds)

    @property
    def query_limits(self) -> QueryLimits:
        """What the rules let one peer know of the head."""
        return QueryLimits(queries=self.max_queries, bits=self.max_answer_bits)

    @property
    def labels(self) -> LabelTerms | None:
        """How label-only answers are computed; None for logits."""
        return LabelTerms(buckets=len(self.confidence_thresholds)) if self.output == "label" else None

    def head_shape(self, provider_dim: int, classes: int, slots: int) -> HeadShape:
        """Return what a suite is asked for with a head of so many classes; abstention is one more class."""
        return HeadShape(
            provider_dim=provider_dim,
            classes=classes + (self.abstain_below is not None),
            slots=slots,
            logit_bits=self.output_bits,
            labels=self.labels,
        )


@dataclass(frozen=True, kw_only=True)
class Policy(Rules):
    """A provider's rules for sessions of one peer."""

    #: Noise that hides single rows of the public embeddings; None adds none.
    privacy: Privacy | None = None
    #: Whether a suite without encryption is allowed; true only for loopback and simulation.
    allow_unencrypted: bool = False

    @classmethod
    def of(cls, rules: Rules, *, privacy: Privacy | None, allow_unencrypted: bool) -> Policy:
        """Return the policy for a peer under the operator's rules."""
        shared = {field.name: getattr(rules, field.name) for field in fields(Rules)}
        return cls(**shared, privacy=privacy, allow_unencrypted=allow_unencrypted)

    def check_training(self, rows: int, dimension: int, limits: Limits) -> None:
        """Raise `RemoteProtocolError` when limits or the minimum of public rows refuse a training session."""
        if dimension > limits.max_dimension or rows > limits.max_rows:
            raise RemoteProtocolError(
                f"{rows} rows of dimension {dimension} exceed {limits.max_rows} of {limits.max_dimension}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        # The constant column counts: d_B + 1 independent columns of d_B + 1 rows can be solved for Z_A.
        if rows <= dimension + 1 or rows < max(self.min_rows, self.min_rows_per_dimension * dimension):
            raise RemoteProtocolError(
                f"{rows} public rows are too few for dimension {dimension}; policy asks for more than "
                f"{dimension + 1}, for min_rows_per_dimension = {self.min_rows_per_dimension:g} and for min_rows = "
                f"{self.min_rows}.",
                hint="Agree on more public texts.",
                code=ErrorCode.TOO_FEW_ROWS,
            )

    def check_noise(self, suite: SuiteInfo, rows: int, noise_rows: int, limits: Limits) -> None:
        """Raise `RemoteProtocolError` when noise is asked for and cannot protect, or takes too many rows."""
        if self.privacy is None:
            return
        if not suite.exact:
            raise RemoteProtocolError(
                f"Policy asks for differential privacy, and results of {suite.name!r} hold errors that depend on the "
                "provider's rows.",
                hint="Offer the suite lwe, or turn privacy off.",
                code=ErrorCode.PRIVACY_REFUSED,
            )
        if rows + noise_rows > limits.max_rows:
            raise RemoteProtocolError(
                f"{rows} rows and those of the noise exceed {limits.max_rows}.",
                hint="Agree on fewer public texts, or raise max_rows.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
