"""Choosing the next token: the likeliest, or one drawn at a temperature from the likeliest part of the distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.errors import ConfigurationError
from securealign.optional import require


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest token; `top_p` keeps the likeliest tokens that hold this probability.

    Raises `ConfigurationError` for values out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigurationError(f"A temperature of {self.temperature:g} means nothing.", hint="Use 0 or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"A top-p of {self.top_p:g} is no probability.", hint="Use above 0, at most 1.")


class Chooser:
    """Chooses tokens one after the other, with a random stream of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._torch = require("torch", "A language model")
        self._random = self._torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Any, allowed: npt.NDArray[np.bool_] | None = None) -> int:  # noqa: ANN401 - a tensor
        """Return a token from logits (V,), among the `allowed` ones (V,) if there are any."""
        if allowed is not None and allowed.any():
            logits = logits.masked_fill(~self._torch.from_numpy(allowed), float("-inf"))
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, order = (logits / self._sampling.temperature).softmax(dim=0).sort(descending=True)
        # A token is kept when what lies before it does not reach top-p: the likeliest always is.
        before = probabilities.cumsum(dim=0) - probabilities
        kept = probabilities.masked_fill(before >= self._sampling.top_p, 0.0)
        return int(order[self._torch.multinomial(kept, 1, generator=self._random)])
