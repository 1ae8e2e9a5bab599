"""The tokens that a model has read and their key-value cache, so that only tokens that changed are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from securealign.errors import InputError
from securealign.lab.generation.causal import CausalModel, States
from securealign.lab.generation.depths import POST_NORM
from securealign.optional import require


class Context:
    """The tokens that a model has read; `read` gives the hidden state (d,) of the last of them at `depth`."""

    def __init__(self, model: CausalModel, depth: str = POST_NORM) -> None:
        self._model, self._depth = model, depth
        self._ids: list[int] = []
        self._state: States | None = None
        # Without the model's configuration: layers with a sliding window would drop states that `crop` goes back to.
        self._cache: Any = require("transformers", "A language model").DynamicCache()
        self.fed = 0

    def read(self, ids: Sequence[int]) -> States:
        """Return the state after exactly `ids`, with the cache of earlier calls; raises `InputError` for none."""
        ids = list(ids)
        if not ids:
            raise InputError("The prompt holds no token.", hint="Give a prompt with some text.")
        if ids == self._ids and self._state is not None:
            return self._state
        places = (place for place, (known, token) in enumerate(zip(self._ids, ids, strict=False)) if known != token)
        common = next(places, min(len(self._ids), len(ids)))
        # The state of the last token is wanted, so at least this one is read again.
        kept = min(common, len(ids) - 1)
        if kept < len(self._ids):
            self._cache.crop(kept - len(self._ids))
        self._state, self._ids = self._feed(ids[kept:]), ids
        return self._state

    def _feed(self, ids: list[int]) -> States:
        torch = require("torch", "A language model")
        states = self._model.run(
            (self._depth,), input_ids=torch.tensor([ids]), past_key_values=self._cache, use_cache=True
        )
        self.fed += len(ids)
        state: States = states[self._depth][0, -1].numpy()
        return state
