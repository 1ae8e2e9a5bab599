"""From token vectors to one vector a text; torch tensors in and out, so typed as Any."""

from __future__ import annotations

from typing import Any

from securealign.models.optional import require

_TINY = 1e-12


def pool(hidden: Any, mask: Any, pooling: str, *, normalize: bool) -> Any:  # noqa: ANN401 - torch is optional
    """Return (n, d) vectors from token vectors (n, t, d) and a mask (n, t) of 0 and 1, padded at the right."""
    torch = require("torch", "Pooling")
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "cls":
        pooled = hidden[:, 0]
    elif pooling == "lasttoken":
        rows = torch.arange(hidden.shape[0])
        pooled = hidden[rows, (mask.sum(dim=1) - 1).clamp(min=0)]
    elif pooling == "max":
        pooled = hidden.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    else:
        pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return torch.nn.functional.normalize(pooled, dim=1, eps=_TINY) if normalize else pooled
