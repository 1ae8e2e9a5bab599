"""Where the numbers of a query and of a head sit in slots, and which rotations sum them.

Neighbouring slots hold copies of one feature: slot s holds feature s // copies. The classes alternate with a period P,
so a product of the query with numbers of the head holds, in slot s, a term of class s mod P. When there are more
classes than copies, `steps` products, each shifted by one feature against the last, cover all pairs of feature and
class.
Rotations by P, 2 P, 4 P, ... then sum the terms of each class around the ring: every slot ends as the whole result of
its class, and none holds a partial sum, which would show more of the head than its results. This is the diagonal method
of GAZELLE (Juvekar et al., USENIX Security 2018) with its rotations after the product.
"""

from dataclasses import dataclass

import numpy as np

from securealign.matrices import FloatMatrix


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


@dataclass(frozen=True)
class Layout:
    """The places of `features` numbers of a query and of `classes` columns of a head in ciphertexts of `slots`."""

    features: int
    classes: int
    slots: int

    @property
    def blocks(self) -> int:
        """Ciphertexts of a query."""
        return -(-self.features // self.slots)

    @property
    def copies(self) -> int:
        """Neighbouring slots with the same feature."""
        return self.slots // min(_power_of_two(self.features), self.slots)

    @property
    def period(self) -> int:
        """Distance of slots of one class."""
        return _power_of_two(self.classes)

    @property
    def steps(self) -> int:
        """Products of each block, each shifted by `copies` slots against the one before."""
        return max(1, self.period // self.copies)

    @property
    def rotations(self) -> list[int]:
        """Rotations that a head takes, each in need of its key: the shift between products, then the sums."""
        shift = [self.copies] if self.steps > 1 else []
        return sorted({*shift, *self.sums})

    @property
    def sums(self) -> list[int]:
        """Rotations that sum the terms of a class, in order."""
        distance, distances = max(self.period, self.copies), []
        while distance < self.slots:
            distances.append(distance)
            distance *= 2
        return distances

    def place(self, query: FloatMatrix) -> FloatMatrix:
        """Return the slots of a query of shape (features,), shape (blocks, slots)."""
        padded = np.zeros(self.blocks * self.slots // self.copies)
        padded[: self.features] = query
        return np.repeat(padded, self.copies).reshape(self.blocks, self.slots)

    def factors(self, weight: FloatMatrix) -> FloatMatrix:
        """Return what the query's slots are multiplied by, shape (blocks, steps, slots); `weight` (features, classes).

        The product of step t, rotated by t copies, is added to the others; a factor is rotated back beforehand.
        """
        span = self.slots // self.copies
        table = np.zeros((self.blocks * span, self.period))
        table[: self.features, : self.classes] = weight
        padded = table.reshape(self.blocks, span, self.period)
        slot = np.arange(self.slots)
        factors = np.empty((self.blocks, self.steps, self.slots))
        for step in range(self.steps):
            target = (slot - step * self.copies) % self.slots
            factors[:, step] = padded[:, slot // self.copies, target % self.period]
        return factors

    def read(self, slots: FloatMatrix) -> FloatMatrix:
        """Return the results of the classes, shape (classes,)."""
        return slots[: self.classes]
