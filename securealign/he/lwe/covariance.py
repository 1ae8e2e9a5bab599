"""Training under `lwe`: the product of the provider's rows and the client's, streamed in tiles.

The client's message is M = Z_B with each column scaled to the full modulus; the provider's operand is U = Z_A^T with
each feature scaled to `OPERAND_NORM`. The scales of U travel with the result, those of M never leave the client.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from securealign.errors import CiphertextError, KeyStoreError, LocalProtocolError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceShape, EncryptedRows
from securealign.he.lwe import residues
from securealign.he.lwe.evaluation import flooded, rerandomisation
from securealign.he.lwe.keys import PublicKey, SecretKey
from securealign.he.lwe.parameters import LOG_ANSWER_MODULUS, LweParameters
from securealign.he.lwe.planner import OPERAND_NORM, BitBudget
from securealign.he.lwe.products import TILE_ROWS, IntegerProduct, tiles
from securealign.he.scales import largest_exponents, received_exponents
from securealign.matrices import FloatMatrix, Rows

_ROWS_PURPOSE = "rows"
_EXPONENT_BYTES = 2
#: Entries of M stay below the norm of their column, and with it below this.
_LARGEST_MESSAGE = 2.0**62.9


def covariance_plan(parameters: LweParameters, shape: CovarianceShape) -> BitBudget:
    """Return the bit budget of a covariance; raises `SuiteError` when it does not fit."""
    return BitBudget(parameters, left=shape.provider_dim, terms=shape.rows, width=shape.columns)


def result_bytes(plan: BitBudget) -> int:
    """Return the size of an encrypted covariance."""
    return HEADER_BYTES + plan.left * _EXPONENT_BYTES + len(plan.groups) * plan.hint_bytes + plan.answer_bytes


class LweCovarianceEncryptor:
    """The client's side: a fresh secret key per session, one row of public randomness per row."""

    def __init__(self, plan: BitBudget, session: bytes, rows: Rows, entropy: Entropy) -> None:
        self._plan, self._rows = plan, rows
        self._exponents = largest_exponents(rows.column_norms(), plan.message_norm)
        # Same key and errors only for the same messages: two messages under one mask would show their difference to a
        # provider that goes on with a copy of this client whose rows have changed.
        entropy = entropy.fork(f"rows {self._digest().hex()}")
        self._entropy = entropy
        self._key = SecretKey(plan, Kind.COVARIANCE_KEY, session, entropy)
        self._matrix = self._key.matrix(_ROWS_PURPOSE)
        self._encrypted = False

    def _messages(self, start: int, stop: int) -> residues.IntMatrix:
        """Return rows of M."""
        scaled = np.rint(self._rows.block(start, stop) * np.ldexp(1.0, self._exponents))
        # A column that is zero up to rounding differs from one pass to the next, by more than its norm perhaps. What it
        # holds is noise, but it must not leave int64.
        return np.clip(scaled, -_LARGEST_MESSAGE, _LARGEST_MESSAGE).astype(np.int64)

    def _digest(self) -> bytes:
        """Return SHA-256 of M."""
        digest = hashlib.sha256()
        for start, rows in tiles(self._plan.terms):
            digest.update(self._messages(start, start + rows).astype("<i8", copy=False).tobytes())
        return digest.digest()

    def key_material(self) -> bytes:
        """Return seeds and P."""
        return self._key.public

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        """Yield A S + E + M in pieces, once: a row of A may mask one message only."""
        if self._encrypted:
            raise LocalProtocolError("Rows cannot be encrypted twice under one key.", hint="Start another session.")
        self._encrypted = True
        width = self._plan.row_bytes
        piece = (max_bytes - HEADER_BYTES) // width
        for start, rows in tiles(self._plan.terms):
            if start + rows <= first_row:
                continue
            messages = self._messages(start, start + rows)
            # A tile that was cut off is encrypted again with the errors that it had; what was sent of it stays.
            errors = self._entropy.fork(f"rows {start}")
            tile = residues.pack(self._key.encrypt(self._matrix, start, messages, errors))
            for offset in range(max(0, first_row - start), rows, piece):
                count = min(piece, rows - offset)
                body = tile[offset * width : (offset + count) * width]
                first = start + offset
                data = self._key.binding.seal(
                    Kind.COVARIANCE_ROWS, body, index=first, rows=count, columns=self._plan.width
                )
                yield EncryptedRows(first, count, data)

    def decrypt(self, result: bytes) -> FloatMatrix:
        """Return Z_A^T Z_B as float64, shape (left, width)."""
        plan = self._plan
        body = self._key.binding.open(
            Kind.COVARIANCE_RESULT,
            result,
            result_bytes(plan) - HEADER_BYTES,
            rows=plan.left,
            columns=plan.width,
        )
        scales_end = plan.left * _EXPONENT_BYTES
        hints_end = scales_end + len(plan.groups) * plan.hint_bytes
        left_exponents = received_exponents(body[:scales_end])
        answer = residues.unpack_answer(body[hints_end:], (plan.left, plan.width))
        values = np.empty((plan.left, plan.width), dtype=np.int64)
        for group, columns in enumerate(plan.groups):
            start = scales_end + group * plan.hint_bytes
            hint = residues.unpack_answer(body[start : start + plan.hint_bytes], (plan.left, plan.parameters.dimension))
            values[:, columns] = self._key.unmask(hint, answer[:, columns], columns)
        scale = plan.parameters.log_q - LOG_ANSWER_MODULUS - self._exponents
        product: FloatMatrix = np.ldexp(values.astype(np.float64), scale - left_exponents[:, None])
        return product

    def close(self) -> None:
        """Forget the secret key."""
        self.__dict__.pop("_key", None)


class LweCovarianceEvaluator:
    """The provider's side: accumulates U [A | C] and sanitises once."""

    def __init__(self, plan: BitBudget, session: bytes, rows: Rows, entropy: Entropy) -> None:
        self._plan, self._session, self._rows = plan, session, rows
        self._entropy = entropy
        norms = rows.column_norms()
        self._exponents = largest_exponents(norms, OPERAND_NORM)
        self._tile = np.empty((min(TILE_ROWS, plan.terms), plan.row_bytes), dtype=np.uint8)
        self._absorbed = 0

    def accept_key(self, key: bytes) -> None:
        """Check and take the client's public key."""
        plan = self._plan
        self._key = PublicKey(plan, Kind.COVARIANCE_KEY, self._session, key)
        self._matrix = self._key.matrix(_ROWS_PURPOSE)
        self._product = IntegerProduct(plan.left, plan.parameters.dimension + plan.width, plan.parameters.log_q)

    def absorb(self, rows: EncryptedRows) -> None:
        """Check the next rows and multiply them once a tile is full."""
        rows.require_next(self._absorbed, self._plan.terms)
        body = self._key.binding.open(
            Kind.COVARIANCE_ROWS,
            rows.data,
            rows.count * self._plan.row_bytes,
            index=rows.first,
            rows=rows.count,
            columns=self._plan.width,
        )
        block = np.frombuffer(body, dtype=np.uint8).reshape(rows.count, self._plan.row_bytes)
        while len(block):
            start = self._absorbed % TILE_ROWS
            taken = min(TILE_ROWS - start, len(block))
            self._tile[start : start + taken] = block[:taken]
            self._absorbed += taken
            block = block[taken:]
            if start + taken == TILE_ROWS or self._absorbed == self._plan.terms:
                self._multiply(start + taken)

    @property
    def _pending(self) -> int:
        """Rows of a tile that is not full; the last tile is multiplied as soon as it is complete."""
        return 0 if self._absorbed == self._plan.terms else self._absorbed % TILE_ROWS

    def _multiply(self, count: int) -> None:
        first = self._absorbed - count
        ciphertext = residues.unpack(self._tile[:count], self._plan.width, self._plan.parameters.log_q)
        public = residues.planes(self._matrix.rows(first, count), self._matrix.columns)
        operand = np.rint(self._rows.block(first, first + count) * np.ldexp(1.0, self._exponents))
        self._product.add(operand, [public, ciphertext])

    def finish(self) -> bytes:
        """Return the scales of U, then H of each group and Y modulo 2^40."""
        plan = self._plan
        if self._absorbed != plan.terms:
            raise CiphertextError(f"{self._absorbed} of {plan.terms} rows have arrived.")
        n, log_q = plan.parameters.dimension, plan.parameters.log_q
        product = self._product.result()
        del self._product
        hints, answers = [], []
        for columns in plan.groups:
            mask = rerandomisation(plan, self._key, columns, self._entropy)
            hint = residues.add(product.columns(slice(0, n)), mask.columns(slice(0, n)), log_q)
            hints.append(residues.pack_answer(residues.switch_modulus(hint, log_q)))
            own = product.columns(slice(n + columns.start, n + columns.stop))
            answers.append(residues.add(own, mask.columns(slice(n, None)), log_q))
        whole = residues.Residues(np.hstack([part.low for part in answers]), np.hstack([part.high for part in answers]))
        answer = residues.switch_modulus(flooded(plan, whole, self._entropy), log_q)
        body = b"".join([self._exponents.astype("<i2").tobytes(), *hints, residues.pack_answer(answer)])
        return self._key.binding.seal(Kind.COVARIANCE_RESULT, body, rows=plan.left, columns=plan.width)

    def checkpoint(self) -> bytes:
        """Return the sums, and the rows of a tile that is not full."""
        return self._product.checkpoint() + self._tile[: self._pending].tobytes()

    def restore(self, state: bytes, absorbed: int) -> None:
        """Go on after `absorbed` rows."""
        self._absorbed = absorbed
        rest, pending = self._product.restore(state), self._pending
        if len(rest) != pending * self._plan.row_bytes:
            raise KeyStoreError("A checkpoint of a training session has a wrong length.", hint="Start a new session.")
        self._tile[:pending] = np.frombuffer(rest, dtype=np.uint8).reshape(pending, self._plan.row_bytes)

    def close(self) -> None:
        """Forget the key and what was accumulated."""
        for name in ("_key", "_product", "_tile"):
            self.__dict__.pop(name, None)
