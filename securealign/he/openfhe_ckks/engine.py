"""The calls of OpenFHE; imported in a worker only.

OpenFHE keeps contexts and rotation keys in globals of the process. A worker serves one session, so they are that
session's own; `close` releases them all for whoever runs sessions one after the other in one process.
"""

import struct
from typing import Any

import numpy as np
import openfhe

from securealign.he.native.profile import Ring
from securealign.he.openfhe_ckks.profile import (
    COVARIANCE_RING,
    COVARIANCE_SCALE,
    DIGIT_BITS,
    HEAD_RING,
    HEAD_SCALE,
    head_layout,
)
from securealign.matrices import FloatMatrix

_BINARY = openfhe.BINARY
_FEATURES = (openfhe.PKESchemeFeature.PKE, openfhe.PKESchemeFeature.KEYSWITCH, openfhe.PKESchemeFeature.LEVELEDSHE)
_LENGTH = struct.Struct("<I")


class Probe:
    """Shows that the library works here."""

    def __init__(self) -> None:
        CovarianceClient(1).close()


class _Session:
    """A context of one prime; numbers go in and out as integers, at the scale of the caller."""

    def __init__(self, ring: Ring, scale: int) -> None:
        parameters = openfhe.CCParamsCKKSRNS()
        parameters.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
        parameters.SetSecretKeyDist(openfhe.SecretKeyDist.UNIFORM_TERNARY)
        parameters.SetRingDim(ring.dimension)
        parameters.SetMultiplicativeDepth(0)
        parameters.SetFirstModSize(ring.log_q)
        parameters.SetScalingModSize(scale)
        parameters.SetScalingTechnique(openfhe.ScalingTechnique.FIXEDMANUAL)
        parameters.SetKeySwitchTechnique(openfhe.KeySwitchTechnique.BV)
        parameters.SetDigitSize(DIGIT_BITS)
        self.slots = ring.slots
        self.scale = 2.0**scale
        self.context = openfhe.GenCryptoContext(parameters)
        for feature in _FEATURES:
            self.context.Enable(feature)

    def close(self) -> None:
        """Release the contexts and keys of the process."""
        self.context.ClearEvalAutomorphismKeys()
        openfhe.ClearEvalMultKeys()
        openfhe.ReleaseAllContexts()

    def encode(self, numbers: FloatMatrix) -> Any:  # noqa: ANN401 - the library has no types
        """Return a plaintext of the numbers, whose coefficients are rounded to integers."""
        try:
            return self.context.MakeCKKSPackedPlaintext(numbers / self.scale)
        except RuntimeError:
            # The library refuses numbers of which every coefficient rounds to zero, and encodes zeros.
            if np.abs(numbers).max() > 2 * self.slots:
                raise
            return self.context.MakeCKKSPackedPlaintext(np.zeros(self.slots))

    def load(self, data: bytes) -> Any:  # noqa: ANN401
        """Return the ciphertext in a peer's bytes, once it is one of this context with two elements."""
        ciphertext = openfhe.DeserializeCiphertextString(data, _BINARY)
        if ciphertext.NumberCiphertextElements() != 2 or ciphertext.GetLevel() or ciphertext.GetSlots() != self.slots:
            raise ValueError("a ciphertext has another number of elements, level or slots")
        return self.at_scale(ciphertext)

    def at_scale(self, ciphertext: Any) -> Any:  # noqa: ANN401
        """Return a ciphertext that counts as one of a fresh scale, whatever it was multiplied by.

        The library would divide by the scale of every factor. Its numbers are integers to us and fit the modulus.
        """
        ciphertext.SetNoiseScaleDeg(1)
        ciphertext.SetScalingFactor(self.scale)
        return ciphertext

    def dump(self, subject: Any) -> bytes:  # noqa: ANN401
        """Return a serialised object."""
        data: bytes = openfhe.Serialize(subject, _BINARY)
        return data


class _Client(_Session):
    """Holds a key pair."""

    def __init__(self, ring: Ring, scale: int) -> None:
        super().__init__(ring, scale)
        self._keys = self.context.KeyGen()

    def key(self) -> bytes:
        """Return the public key."""
        return self.dump(self._keys.publicKey)

    def _encrypt(self, numbers: FloatMatrix) -> bytes:
        # Under the secret key: half the error of the public key's.
        return self.dump(self.context.Encrypt(self._keys.secretKey, self.encode(numbers)))

    def _decrypt(self, data: bytes) -> FloatMatrix:
        plaintext = self.context.Decrypt(self.load(data), self._keys.secretKey)
        plaintext.SetLength(self.slots)
        numbers: FloatMatrix = np.asarray(plaintext.GetRealPackedValueArray()) * self.scale
        return numbers


class _Provider(_Session):
    """Holds a client's public key."""

    def accept_key(self, key: bytes) -> None:
        """Take the public key."""
        self._public = openfhe.DeserializePublicKeyString(key, _BINARY)
        self.encrypted_zero()

    def encrypted_zero(self) -> Any:  # noqa: ANN401
        """Return a fresh encryption of zeros."""
        return self.context.Encrypt(self._public, self.encode(np.zeros(self.slots)))


class CovarianceClient(_Client):
    """The client's half of a covariance of `columns`."""

    def __init__(self, columns: int) -> None:
        super().__init__(COVARIANCE_RING, COVARIANCE_SCALE)
        self._columns = columns
        self._parts = -(-columns // self.slots)

    def encrypt(self, rows: FloatMatrix) -> list[bytes]:
        """Return the ciphertexts of rows (count, columns), those of one row next to each other."""
        padded = np.zeros((len(rows), self._parts * self.slots))
        padded[:, : self._columns] = rows
        return [self._encrypt(np.rint(part)) for part in padded.reshape(-1, self.slots)]

    def decrypt(self, ciphertexts: list[bytes]) -> FloatMatrix:
        """Return the products, shape (provider's columns, columns)."""
        slots = np.array([self._decrypt(data) for data in ciphertexts])
        return slots.reshape(-1, self._parts * self.slots)[:, : self._columns]


class CovarianceProvider(_Provider):
    """The provider's half: sums of ciphertexts times integers, for each of its `features`."""

    def __init__(self, features: int, columns: int) -> None:
        super().__init__(COVARIANCE_RING, COVARIANCE_SCALE)
        self._parts = -(-columns // self.slots)
        self._sums: list[list[Any]] = [[None] * self._parts for _ in range(features)]

    def absorb(self, ciphertexts: list[bytes], operand: FloatMatrix) -> None:
        """Multiply rows with the operand (count, features) and add the products."""
        context, factors = self.context, np.rint(operand) / self.scale
        loaded = [self.load(data) for data in ciphertexts]
        for row, numbers in enumerate(factors.tolist()):
            parts = loaded[row * self._parts : (row + 1) * self._parts]
            for sums, factor in zip(self._sums, numbers, strict=True):
                for part, ciphertext in enumerate(parts):
                    product = context.EvalMult(ciphertext, factor)
                    if sums[part] is None:
                        sums[part] = product
                    else:
                        context.EvalAddInPlace(sums[part], product)

    def finish(self) -> list[bytes]:
        """Return the sums, each with an encryption of zero added."""
        return [
            self.dump(self.context.EvalAdd(self.at_scale(total), self.encrypted_zero()))
            for sums in self._sums
            for total in sums
        ]


class HeadClient(_Client):
    """The client's half of a head of `features` numbers, without the constant one, and `classes`."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(HEAD_RING, HEAD_SCALE)
        self._layout = head_layout(features, classes)

    def key(self) -> bytes:
        """Return the length of the public key, the public key, and the rotation keys."""
        self.context.EvalRotateKeyGen(self._keys.secretKey, self._layout.rotations)
        public = super().key()
        rotations: bytes = b""
        if self._layout.rotations:
            rotations = openfhe.SerializeEvalAutomorphismKeyString(_BINARY, self._keys.secretKey.GetKeyTag())
        return _LENGTH.pack(len(public)) + public + rotations

    def encrypt(self, queries: FloatMatrix) -> list[bytes]:
        """Return the ciphertexts of queries (count, features + 1)."""
        return [self._encrypt(block) for query in queries for block in self._layout.place(query)]

    def decrypt(self, ciphertexts: list[bytes]) -> FloatMatrix:
        """Return the results, shape (count, classes)."""
        return np.array([self._layout.read(self._decrypt(data)) for data in ciphertexts])


class HeadProvider(_Provider):
    """The provider's half: owns a head, `weight` (features + 1, classes) with the bias as its last row."""

    def __init__(self, weight: FloatMatrix) -> None:
        super().__init__(HEAD_RING, HEAD_SCALE)
        self._layout = head_layout(len(weight) - 1, weight.shape[1])
        self._factors = [[self.encode(step) for step in steps] for steps in self._layout.factors(weight)]

    def accept_key(self, key: bytes) -> None:
        """Take the public key and the rotation keys."""
        (length,) = _LENGTH.unpack_from(key)
        public, rotations = key[_LENGTH.size : _LENGTH.size + length], key[_LENGTH.size + length :]
        super().accept_key(public)
        if rotations:
            openfhe.DeserializeEvalAutomorphismKeyString(rotations, _BINARY)

    def evaluate(self, ciphertexts: list[bytes]) -> list[bytes]:
        """Return the results of the queries, each in one ciphertext with an encryption of zero added."""
        blocks = self._layout.blocks
        queries = [ciphertexts[first : first + blocks] for first in range(0, len(ciphertexts), blocks)]
        return [self._evaluate([self.load(data) for data in query]) for query in queries]

    def _evaluate(self, query: list[Any]) -> bytes:
        context, layout = self.context, self._layout
        total = None
        for step in reversed(range(layout.steps)):
            if total is not None:
                total = context.EvalRotate(total, layout.copies)
            for block, ciphertext in enumerate(query):
                product = context.EvalMult(ciphertext, self._factors[block][step])
                total = product if total is None else context.EvalAdd(total, product)
        for distance in layout.sums:
            total = context.EvalAdd(total, context.EvalRotate(total, distance))
        return self.dump(context.EvalAdd(self.at_scale(total), self.encrypted_zero()))
