"""Bit budget, sizes and forecast of label-only answers: docs/label-spec.md.

The provider gives labels of the top t bits of its shares instead of a flooded answer, so no flood takes room. The
message may be as large as the modulus allows when one unit of truncation is left free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from securealign.errors import ErrorCode, SuiteError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.forecast import CALL, HeadForecast
from securealign.he.interface import HeadShape, HeadSizes
from securealign.he.labels.garbling import BLOCK_SLOTS
from securealign.he.labels.layout import LABEL_BYTES, LabelLayout
from securealign.he.labels.transfer import OFFER_BYTES, REPLY_BYTES
from securealign.he.lwe.forecast import forecast_head
from securealign.he.lwe.head import pool_bytes
from securealign.he.lwe.memory import head_memory
from securealign.he.lwe.parameters import RESIDUE_BYTES, LweParameters
from securealign.he.lwe.planner import MAX_SLOTS, MAX_TERMS, OPERAND_NORM, BitBudget
from securealign.limits import MAX_CHUNK_BYTES

_BITS = range(8, 25)
_SEGMENTS = (1, 2, 4)
_BUCKETS = range(4)
#: Copies of the choices of a pool that exist at the worst moment, of the tables of a block, and labels for each
#: transfer of a stretch; and copies of a pool's tables at the client, which keeps and records them.
_CHOICES, _BLOCKS, _LABELS, _TABLES = 4, 10, 12, 2
#: Bytes that the noted steps of a small circuit take beyond its blocks; for a large one they are within them.
_NOTES = 1 << 17


@dataclass(frozen=True)
class LabelBudget(BitBudget):
    """The product of a head whose answers are labels; `left` counts differences to the reference, and thresholds."""

    layout: LabelLayout

    def __post_init__(self) -> None:
        if self.terms > MAX_TERMS or self.width > MAX_SLOTS or self.message_norm < 1:
            raise self._refusal(f"labels take at most {MAX_TERMS} terms and {MAX_SLOTS} slots")
        if self.batch < 1:
            raise self._refusal(f"the labels of {self.layout.rows} numbers do not fit in a message")

    @property
    def message_norm(self) -> float:
        """Largest norm of a column of M for which U M, noise and one unit of truncation stay within half of q."""
        half = 2.0 ** (self.parameters.log_q - 1)
        return (half - self._unit - 2.0 ** (self.flood_bits + 1)) / self.operand_bound

    @property
    def _unit(self) -> float:
        """The weight of the lowest bit that takes part."""
        return 2.0 ** (self.parameters.log_q - self.layout.bits)

    @property
    def relative_error(self) -> float:
        """Standard deviation of a truncated difference of logits, relative to the two norms, at its worst scales."""
        return self._error(4, 2)

    @property
    def expected_error(self) -> float:
        """Root mean square of that error over all scales."""
        spread = 3 / (2 * math.log(2))
        return self._error(spread, math.sqrt(spread))

    def _error(self, both: float, one: float) -> float:
        truncation = math.sqrt(1 / 12) * self._unit * both / (OPERAND_NORM * self.message_norm)
        return math.hypot(truncation, math.sqrt(1 / 12) * one / OPERAND_NORM)

    @property
    def batch(self) -> int:
        """Queries, and answers, that fit in one chunk."""
        layout = self.layout
        answer = layout.answer_bytes(1)
        return (MAX_CHUNK_BYTES - HEADER_BYTES) // max(self.terms * RESIDUE_BYTES, answer)

    @property
    def sizes(self) -> HeadSizes:
        """Exact sizes of everything that travels."""
        layout = self.layout
        return HeadSizes(
            key=self.key_bytes + REPLY_BYTES,
            pool=pool_bytes(self),
            batch=self.batch,
            answer=HEADER_BYTES + layout.answer_bytes(self.batch),
            answer_bits=layout.outputs,
            memory=head_memory(self) + self._working,
            offer=OFFER_BYTES,
            choices=HEADER_BYTES + layout.choices_bytes,
            tables=HEADER_BYTES + layout.tables_bytes,
        )

    @property
    def _working(self) -> int:
        """Bytes that a party holds at most while it chooses, garbles or takes tables, beside tables that it keeps."""
        layout, stretch = self.layout, self.layout.stretches()[0]
        block = min(layout.slots, BLOCK_SLOTS) * layout.table_bytes
        labels: int = LABEL_BYTES * layout.wires * (stretch.stop - stretch.start)
        return _CHOICES * layout.choices_bytes + _BLOCKS * block + _LABELS * labels + _NOTES

    @property
    def forecast(self) -> HeadForecast:
        """Messages and work: an AND gate of a slot counts as 4 moved elements, a transfer as 128."""
        layout, base = self.layout, forecast_head(self)
        gates, transfers = 4.0 * layout.gates, 128.0 * layout.transfers
        tables = layout.slots * gates
        work = {
            **base.work,
            "choose": {CALL: 1, "moved": transfers},
            "garble": {CALL: 1, "moved": transfers + 2 * tables},
            "load_tables": {CALL: 1, "moved": transfers / 8},
            "decrypt": {CALL: 1, "moved": gates + layout.wires},
        }
        return replace(
            base,
            answer_bytes=layout.answer_bytes(1),
            client_memory=base.client_memory + self._working + _TABLES * layout.tables_bytes,
            provider_memory=base.provider_memory + self._working,
            work=work,
            # What is masked is not sent, and a slot shows its result alone.
            forged_key=None,
        )


def label_plan(parameters: LweParameters, shape: HeadShape) -> LabelBudget:
    """Return the bit budget of a head whose answers are labels; raises `SuiteError` when it does not fit."""
    terms = shape.labels
    if terms is None:
        raise _refused("The shape asks for logits.", "Plan it as a head.")
    if parameters.quantum_bits:
        raise _refused(
            f"Labels rest on a transfer over the curve P-256, which does not have the post-quantum security that "
            f"{parameters.name} claims.",
            'Use lwe-128, or set output = "logits".',
        )
    if terms.bits not in _BITS or terms.segments not in _SEGMENTS or terms.buckets not in _BUCKETS:
        raise _refused("Labels take 8 to 24 bits, 1, 2 or 4 segments and at most 3 thresholds.", "Use other terms.")
    if shape.classes < 2 or shape.logit_bits is not None:
        raise _refused("A label needs two classes or more, and has no logit to be coarse.", "Use another shape.")
    layout = LabelLayout(shape.classes, terms.bits, terms.segments, terms.buckets, shape.slots)
    return LabelBudget(parameters, layout.rows, shape.provider_dim + 1, shape.slots, layout)


def _refused(message: str, hint: str) -> SuiteError:
    return SuiteError(message, hint=hint, code=ErrorCode.OUTPUT_REFUSED)
