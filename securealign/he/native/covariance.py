"""Training on a native library: each row is encrypted, multiplied by the provider's numbers, and summed.

This is the formula of the paper, sum over k of Z_A[k, :]^T Enc(Z_B[k, :]). Scales are powers of two: those of Z_B stay
with the client, those of Z_A travel with the result.
"""

from collections.abc import Iterator

import numpy as np

from securealign.errors import CiphertextError, ErrorCode, LocalProtocolError, SuiteError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.interface import CovarianceShape, CovarianceSizes, EncryptedRows
from securealign.he.native.envelope import seal, sealed_bytes, unscale, unseal
from securealign.he.native.frames import MAX_FRAME
from securealign.he.native.profile import Profile
from securealign.he.native.worker import Worker
from securealign.he.scales import largest_exponents, received_exponents
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import BLOCK_ROWS, FloatMatrix, Rows

_EXPONENT_BYTES = 2


class CovariancePlan:
    """The sizes of one covariance under a profile; raises `SuiteError` when a row does not fit a message."""

    def __init__(self, profile: Profile, shape: CovarianceShape) -> None:
        job = profile.covariance
        self.profile, self.job, self.shape = profile, job, shape
        #: Ciphertexts of one row.
        self.parts = job.ciphertexts(shape.columns)
        self.row_bytes = sealed_bytes(self.parts, job.fresh_bytes)
        self.key_bytes = sealed_bytes(1, profile.covariance_key_bytes)
        self._require_fit(f"A row of {shape.columns}", self.row_bytes, MAX_CHUNK_BYTES - HEADER_BYTES, "message holds")
        self.result_bytes = shape.provider_dim * (_EXPONENT_BYTES + sealed_bytes(self.parts, job.evaluated_bytes))
        product = f"A product of {shape.provider_dim} by {shape.columns}"
        self._require_fit(product, self.result_bytes, MAX_FRAME, "worker returns")

    def _require_fit(self, what: str, size: int, limit: int, bound: str) -> None:
        if size > limit:
            raise SuiteError(
                f"{what} numbers takes {size} bytes under {self.profile.name!r}, more than a {bound}.",
                hint="Use the suite lwe.",
                code=ErrorCode.PLAN_INFEASIBLE,
            )

    @property
    def sizes(self) -> CovarianceSizes:
        """Exact sizes of key and result."""
        return CovarianceSizes(
            key=HEADER_BYTES + self.key_bytes,
            result=HEADER_BYTES + self.result_bytes,
            memory=self.profile.memory(self.key_bytes, self.result_bytes, MAX_CHUNK_BYTES),
        )

    def place(self, kind: Kind, first: int = 0) -> dict[str, int]:
        """Return the fields of a header."""
        rows = self.shape.provider_dim if kind is Kind.COVARIANCE_RESULT else self.shape.rows
        return {"index": first, "rows": rows, "columns": self.shape.columns}


class NativeCovarianceEncryptor:
    """The client's side: the secret key stays in the worker."""

    def __init__(self, plan: CovariancePlan, session: bytes, rows: Rows) -> None:
        self._plan, self._rows = plan, rows
        self._exponents = largest_exponents(rows.column_norms(), plan.job.message_norm)
        self._worker = Worker(plan.profile, "CovarianceClient", plan.shape.columns)
        key = seal([self._worker.call(bytes, "key")], 1, plan.profile.covariance_key_bytes)
        self._key = plan.profile.binding(session).seal(Kind.COVARIANCE_KEY, key, **plan.place(Kind.COVARIANCE_KEY))
        self._binding = plan.profile.binding(session, self._key)
        self._encrypted = False

    def key_material(self) -> bytes:
        """Return the public key."""
        return self._key

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        """Yield all rows in pieces, once."""
        if self._encrypted or first_row:
            raise LocalProtocolError("Rows cannot be encrypted twice under one key.", hint="Start another session.")
        self._encrypted = True
        plan, total = self._plan, self._plan.shape.rows
        piece = min(BLOCK_ROWS, (max_bytes - HEADER_BYTES) // plan.row_bytes)
        for first in range(0, total, piece):
            block = np.ldexp(self._rows.block(first, min(first + piece, total)), self._exponents)
            ciphertexts: list[bytes] = self._worker.call(
                list, "encrypt", np.clip(block, -plan.job.message_norm, plan.job.message_norm)
            )
            body = seal(ciphertexts, len(block) * plan.parts, plan.job.fresh_bytes)
            data = self._binding.seal(Kind.COVARIANCE_ROWS, body, **plan.place(Kind.COVARIANCE_ROWS, first))
            yield EncryptedRows(first, len(block), data)

    def decrypt(self, result: bytes) -> FloatMatrix:
        """Return Z_A^T Z_B, shape (provider_dim, columns)."""
        plan = self._plan
        place = plan.place(Kind.COVARIANCE_RESULT)
        body = self._binding.open(Kind.COVARIANCE_RESULT, result, plan.result_bytes, **place)
        end = plan.shape.provider_dim * _EXPONENT_BYTES
        left = received_exponents(body[:end])
        values = self._worker.read(np.ndarray, "decrypt", unseal(body[end:], plan.job.evaluated_bytes))
        return unscale(values, (plan.shape.provider_dim, plan.shape.columns), self._exponents + left[:, None])

    def close(self) -> None:
        """End the worker, and the secret key with it."""
        self._worker.close()


class NativeCovarianceEvaluator:
    """The provider's side: its worker holds the client's public key and the sums."""

    def __init__(self, plan: CovariancePlan, session: bytes, rows: Rows) -> None:
        self._plan, self._session, self._rows = plan, session, rows
        self._exponents = largest_exponents(rows.column_norms(), plan.job.operand_norm)
        shape = plan.shape
        self._worker = Worker(plan.profile, "CovarianceProvider", shape.provider_dim, shape.columns)
        self._absorbed = 0

    def accept_key(self, key: bytes) -> None:
        """Check and take the client's public key."""
        plan = self._plan
        place = plan.place(Kind.COVARIANCE_KEY)
        body = plan.profile.binding(self._session).open(Kind.COVARIANCE_KEY, key, plan.key_bytes, **place)
        self._worker.read(int, "accept_key", *unseal(body, plan.profile.covariance_key_bytes))
        self._binding = plan.profile.binding(self._session, key)

    def absorb(self, rows: EncryptedRows) -> None:
        """Check the next rows, multiply and add them."""
        plan = self._plan
        rows.require_next(self._absorbed, plan.shape.rows)
        place = plan.place(Kind.COVARIANCE_ROWS, rows.first)
        body = self._binding.open(Kind.COVARIANCE_ROWS, rows.data, rows.count * plan.row_bytes, **place)
        operand = np.ldexp(self._rows.block(rows.first, rows.first + rows.count), self._exponents)
        self._worker.read(int, "absorb", unseal(body, plan.job.fresh_bytes), operand)
        self._absorbed += rows.count

    def finish(self) -> bytes:
        """Return the scales of Z_A and the encrypted sums."""
        plan = self._plan
        if self._absorbed != plan.shape.rows:
            raise CiphertextError(f"{self._absorbed} of {plan.shape.rows} rows have arrived.")
        ciphertexts: list[bytes] = self._worker.read(list, "finish")
        count = plan.shape.provider_dim * plan.parts
        sums = seal(ciphertexts, count, plan.job.evaluated_bytes, fault=CiphertextError)
        body = self._exponents.astype("<i2").tobytes() + sums
        return self._binding.seal(Kind.COVARIANCE_RESULT, body, **plan.place(Kind.COVARIANCE_RESULT))

    def checkpoint(self) -> None:
        """Return None: the sums stay in the worker."""

    def restore(self, state: bytes, absorbed: int) -> None:
        """Raise `LocalProtocolError`: there are no checkpoints."""
        raise LocalProtocolError(f"{self._plan.profile.name} keeps no checkpoints.", hint="Send all rows again.")

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
