"""The calls of TenSEAL; imported in a worker only."""

from typing import Any

import numpy as np
import tenseal

from securealign.he.tenseal_ckks.profile import MODULUS_BITS, RING, SCALE
from securealign.matrices import FloatMatrix

#: Next to zero: 2^-28 of a provider's norm, but not zero when encoded.
_SMALLEST = 2.0**-20


def _without_zeros(numbers: FloatMatrix) -> FloatMatrix:
    """Return numbers of which none is encoded as zero.

    The library answers a product with zeros by a fresh encryption at another scale: nothing could be added to it, and
    its size would show it.
    """
    return np.where(np.abs(numbers) < _SMALLEST, _SMALLEST, numbers)


class Probe:
    """Shows that the library works here."""

    def __init__(self) -> None:
        CovarianceClient(1).close()


def _new_context() -> Any:  # noqa: ANN401 - the library has no types
    """Return a context under the parameters of the profile, with keys of its own."""
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, RING.dimension, coeff_mod_bit_sizes=list(MODULUS_BITS), n_threads=1
    )
    context.global_scale = 2.0**SCALE
    return context


def _parameters(context: Any) -> Any:  # noqa: ANN401
    """Return the library's digest of scheme, ring and moduli."""
    return context.seal_context().data.key_parms_id()


class _Client:
    """Holds a context with its secret key."""

    def __init__(self, columns: int) -> None:
        self._context = _new_context()
        self._columns = columns
        self._parts = -(-columns // RING.slots)

    def close(self) -> None:
        """Release the context, which the library keeps nowhere else."""
        del self._context

    def key(self) -> bytes:
        """Return the context without its secret key."""
        return self._serialise(galois_keys=False)

    def _serialise(self, *, galois_keys: bool) -> bytes:
        data: bytes = self._context.serialize(
            save_public_key=True, save_secret_key=False, save_galois_keys=galois_keys, save_relin_keys=False
        )
        return data

    def encrypt(self, rows: FloatMatrix) -> list[bytes]:
        """Return the ciphertexts of rows (count, columns), zeros in all slots that are left."""
        padded = np.zeros((len(rows), self._parts * RING.slots))
        padded[:, : self._columns] = rows
        parts = padded.reshape(-1, RING.slots)
        return [tenseal.ckks_vector(self._context, part.tolist()).serialize() for part in parts]

    def _decrypt(self, data: bytes) -> list[float]:
        numbers: list[float] = tenseal.ckks_vector_from(self._context, data).decrypt()
        return numbers


class _Provider:
    """Holds a client's context."""

    def accept_key(self, key: bytes) -> None:
        """Take the context with the public keys."""
        context = tenseal.context_from(key, n_threads=1)
        # In a larger ring, zeros would not fill all slots, and those left would hold partial sums.
        if _parameters(context) != _parameters(_new_context()):
            raise ValueError("a context has other parameters")
        if context.is_private():
            raise ValueError("a context holds a secret key")
        context.global_scale = 2.0**SCALE
        context.auto_relin = context.auto_rescale = context.auto_mod_switch = True
        self._context = context

    def _load(self, data: bytes) -> Any:  # noqa: ANN401
        vector = tenseal.ckks_vector_from(self._context, data)
        if vector.size() != RING.slots or len(vector.ciphertext()) != 1:
            raise ValueError("a ciphertext has another size")
        return vector


class CovarianceClient(_Client):
    """The client's half of a covariance of `columns`."""

    def decrypt(self, ciphertexts: list[bytes]) -> FloatMatrix:
        """Return the products, shape (provider's columns, columns)."""
        slots = np.array([self._decrypt(data) for data in ciphertexts])
        return slots.reshape(-1, self._parts * RING.slots)[:, : self._columns]


class CovarianceProvider(_Provider):
    """The provider's half: sums of ciphertexts times numbers, for each of its `features`."""

    def __init__(self, features: int, columns: int) -> None:
        self._parts = -(-columns // RING.slots)
        self._sums: list[list[Any]] = [[None] * self._parts for _ in range(features)]

    def accept_key(self, key: bytes) -> None:
        """Take the context; products stay at their scale, since rescaling each costs more than all the rest."""
        super().accept_key(key)
        self._context.auto_rescale = False

    def absorb(self, ciphertexts: list[bytes], operand: FloatMatrix) -> None:
        """Multiply rows with the operand (count, features) and add the products."""
        loaded = [self._load(data) for data in ciphertexts]
        for row, numbers in enumerate(_without_zeros(operand).tolist()):
            parts = loaded[row * self._parts : (row + 1) * self._parts]
            for sums, factor in zip(self._sums, numbers, strict=True):
                for part, ciphertext in enumerate(parts):
                    product = ciphertext * factor
                    if sums[part] is None:
                        sums[part] = product
                    else:
                        sums[part].add_(product)

    def finish(self) -> list[bytes]:
        """Return the sums."""
        return [total.serialize() for sums in self._sums for total in sums]


class HeadClient(_Client):
    """The client's half of a head of `features` numbers, without the constant one, and `classes`."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features + 1)
        self._classes = classes
        self._context.generate_galois_keys()

    def key(self) -> bytes:
        """Return the context without its secret key, with the keys of all rotations."""
        return self._serialise(galois_keys=True)

    def decrypt(self, ciphertexts: list[bytes]) -> FloatMatrix:
        """Return the results, shape (count, classes)."""
        return np.array([self._decrypt(data)[0] for data in ciphertexts]).reshape(-1, self._classes)


class HeadProvider(_Provider):
    """The provider's half: owns a head, `weight` (features + 1, classes) with the bias as its last row."""

    def __init__(self, weight: FloatMatrix) -> None:
        self._parts = -(-len(weight) // RING.slots)
        padded = np.zeros((self._parts * RING.slots, weight.shape[1]))
        padded[: len(weight)] = weight
        empty = ~padded.any(axis=0)
        padded[0, empty] = _without_zeros(padded[0, empty])
        #: For each class, its numbers by part.
        self._columns = padded.T.reshape(weight.shape[1], self._parts, RING.slots).tolist()

    def evaluate(self, ciphertexts: list[bytes]) -> list[bytes]:
        """Return one ciphertext for each query and class."""
        parts = self._parts
        loaded = [self._load(data) for data in ciphertexts]
        queries = [loaded[first : first + parts] for first in range(0, len(loaded), parts)]
        return [self._dot(query, column) for query in queries for column in self._columns]

    @staticmethod
    def _dot(query: list[Any], column: list[list[float]]) -> bytes:
        products = [part.dot(numbers) for part, numbers in zip(query, column, strict=True)]
        total = products[0]
        for product in products[1:]:
            total.add_(product)
        data: bytes = total.serialize()
        return data
