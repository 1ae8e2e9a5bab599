"""The result of an alignment: z_hat = z_B W + b."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.artifacts import load_artifact, save_artifact
from securealign.errors import ConfigurationError, ErrorCode, FileError, ShapeError
from securealign.matrices import FloatMatrix, as_matrix, require_finite

_KIND = "alignment"


@dataclass(frozen=True, repr=False)
class AlignmentMap:
    """An affine map between embedding spaces: `weight` (d_B, d_A), `bias` (d_A,), and how it was made."""

    weight: FloatMatrix
    bias: npt.NDArray[np.float64]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<AlignmentMap of {self.weight.shape[0]} to {self.weight.shape[1]} dimensions>"

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise ShapeError(f"A map with weight {self.weight.shape} and bias {self.bias.shape} does not fit together.")

    @property
    def space(self) -> bytes:
        """Name (16 bytes) of the provider's coordinates that the map leads into.

        Raises `ConfigurationError` for a map that names none: it was fitted in one process, or by an older release.
        """
        name = self.metadata.get("space")
        if not (isinstance(name, str) and re.fullmatch("[0-9a-f]{32}", name)):
            raise ConfigurationError(
                "The map does not say for which provider, encoder and public texts it was made.",
                hint="Run 'securealign-client align' again.",
                code=ErrorCode.SPACE_MISMATCH,
            )
        return bytes.fromhex(name)

    def apply(self, embeddings: npt.ArrayLike) -> FloatMatrix:
        """Map embeddings of shape (n, d_B) to (n, d_A); raises `InputError` for other shapes or NaN."""
        matrix = np.asarray(as_matrix(embeddings, "The embedding matrix", columns=len(self.weight)), dtype=np.float64)
        require_finite(matrix, "The embedding matrix")
        return matrix @ self.weight + self.bias

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the map to `folder` as safetensors with a manifest."""
        save_artifact(folder, _KIND, {"weight": self.weight, "bias": self.bias}, self.metadata)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AlignmentMap:
        """Read a map; raises `InputError` when the folder does not hold one."""
        tensors, metadata = load_artifact(folder, _KIND)
        if set(tensors) != {"weight", "bias"}:
            raise FileError(f"{folder} holds no weight and bias.")
        return cls(tensors["weight"], tensors["bias"], metadata)
