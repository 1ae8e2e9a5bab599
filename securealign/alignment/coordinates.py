"""The provider's private coordinates: centred, scaled, whitened and secretly rotated embeddings.

The provider trains and answers in these coordinates only. With columns of one size and no offset, what a suite rounds
and floods costs every direction the same; and the client learns neither mean nor scale of the provider's embeddings
nor, without its encoder, their axes. A space is as secret as the head, and made once for the same rows: two whitenings
of different strength would show the spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from securealign.alignment.head import LinearHead
from securealign.alignment.ridge import Moments
from securealign.alignment.scaling import Scaling, Vector, floored
from securealign.errors import InputError, ShapeError
from securealign.he.entropy import Entropy, gaussian
from securealign.limits import SPACE_BYTES
from securealign.matrices import Affine, FloatMatrix, MappedRows, Rows

#: By more than rounding, so that norms stay bounds.
_ABOVE_ROUNDING = 1 + 1e-9
#: rho: what is added to the spectrum before whitening, relative to its mean. Weak directions stay weak.
STRENGTH = 1.0


@dataclass(frozen=True, repr=False)
class Space:
    """u = ((z - mean) / scale - centre) inner, which `outer` inverts; `inner` and `outer` have shape (d, d).

    `identifier` names the space for both parties; it is random, so that it tells nothing of the embeddings.
    `norms` (d,) are those of its columns over the `count` public embeddings; zeros if they did not shape it.
    """

    identifier: bytes
    scaling: Scaling
    centre: Vector
    inner: FloatMatrix
    outer: FloatMatrix
    norms: Vector
    count: int

    def __repr__(self) -> str:
        return f"<Space of {len(self.centre)} dimensions>"

    @classmethod
    def of(cls, rows: Rows, entropy: Entropy | None = None, *, scaling: Scaling | None = None) -> Space:
        """Return the space of embeddings (N, d); without `entropy` it is not rotated, for use in one process.

        Raises `InputError` for embeddings that do not vary or are too large to compute with.
        """
        scaling = scaling or Scaling.of(rows, "The provider's public embeddings")
        moments = Moments.of(scaling.rows(rows))
        values, vectors = np.linalg.eigh(moments.gram)
        values = np.maximum(values, 0.0)
        raised = values + STRENGTH * values.mean()
        if not raised.any():
            raise InputError(
                "The provider's public embeddings do not vary.", hint="Check the encoder, and that the texts differ."
            )
        rotated = vectors.T if entropy is None else vectors.T @ _rotation(len(values), entropy)
        root = np.sqrt(raised / moments.count)[:, None]
        squares = moments.count * ((values / raised) @ rotated**2)
        return cls(
            identifier=bytes(SPACE_BYTES) if entropy is None else entropy.octets(SPACE_BYTES).tobytes(),
            scaling=scaling,
            centre=moments.mean,
            inner=vectors @ (rotated / root),
            outer=rotated.T @ (root * vectors.T),
            norms=np.sqrt(squares),
            count=moments.count,
        )

    @classmethod
    def fixed(cls, dimension: int, entropy: Entropy) -> Space:
        """Return raw coordinates under a name: what differential privacy needs, since rows must not shape their space.

        Nothing is said of the squared norm of the rows, which is theirs.
        """
        unit = np.eye(dimension)
        name = entropy.octets(SPACE_BYTES).tobytes()
        return cls(name, Scaling.identity(dimension), np.zeros(dimension), unit, unit, np.zeros(dimension), 0)

    @classmethod
    def of_queries(cls, queries: Rows, entropy: Entropy) -> Space:
        """Return a space for queries (m, d) when nothing else is known; those that do not vary are only rescaled."""
        first = queries.block(0, 1)
        if all((block == first).all() for block in queries.blocks()):
            plain = cls.fixed(queries.shape[1], entropy)
            return replace(plain, scaling=Scaling(plain.centre, floored(np.abs(first[0]))))
        return cls.of(queries, entropy)

    @property
    def dimension(self) -> int:
        """Dimension d of the embeddings."""
        return len(self.centre)

    @property
    def total_squares(self) -> float:
        """Squared norm of the public embeddings in the space, 0 if they did not shape it."""
        return float(self.norms @ self.norms)

    def typical(self, count: int) -> FloatMatrix:
        """Return made-up embeddings (count, d) in the space, of the size of public ones; always the same."""
        deviation = np.sqrt(self.total_squares / max(self.count, 1) / len(self.centre))
        return np.random.default_rng(0).normal(scale=deviation, size=(count, len(self.centre)))

    def rows(self, rows: Rows) -> Rows:
        """Return public embeddings (N, d) in the space, as training multiplies with them."""
        affine = Affine(self.centre, self.inner, np.zeros(len(self.centre)))
        return MappedRows(rows, self.scaling.then(affine), norms=self.norms * _ABOVE_ROUNDING)

    def apply(self, embeddings: npt.NDArray[np.floating]) -> FloatMatrix:
        """Return embeddings (n, d) in the space; unlike training rows, at their own norm."""
        scaled = (embeddings - self.scaling.mean) / self.scaling.scale
        return (scaled - self.centre) @ self.inner

    def fold(self, head: LinearHead) -> LinearHead:
        """Return the head that gives the same logits on embeddings in the space.

        Raises `InputError` when the head takes another dimension.
        """
        if len(head.weight) != len(self.centre):
            raise ShapeError(
                f"The head takes {len(head.weight)} dimensions and the public embeddings have {len(self.centre)}.",
                hint="Use the encoder that the head was fitted on.",
            )
        scaled = self.scaling.scale[:, None] * head.weight
        bias = head.bias + self.scaling.mean @ head.weight + self.centre @ scaled
        return LinearHead(self.outer @ scaled, bias, head.class_names, link=head.link)

    def unfold(self, weight: FloatMatrix, bias: Vector) -> tuple[FloatMatrix, Vector]:
        """Return the map to raw embeddings for one into the space, `weight` (d_B, d) and `bias` (d,)."""
        back = self.outer * self.scaling.scale
        return weight @ back, self.scaling.raw(self.centre) + bias @ back


def _rotation(dimension: int, entropy: Entropy) -> FloatMatrix:
    """Return a uniformly distributed orthogonal matrix (Stewart 1980)."""
    normal = gaussian(entropy.octets(8 * dimension * dimension)).reshape(dimension, dimension)
    orthogonal, triangle = np.linalg.qr(normal)
    return orthogonal * np.sign(np.diag(triangle))
