"""Finished pieces of an experiment on disk: what is computed once is never computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from securealign.cache import cache_root
from securealign.files import write_atomically

#: One line of a table: names to strings, numbers, truth values or None.
Row = dict[str, Any]

#: Part of every key: a release that computes something else from the same inputs counts it up.
_EDITION = 2


class Store:
    """A folder of cells, each the rows that one piece of work gave, named by the SHA-256 of all that it depends on."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else cache_root() / "experiments"

    def rows(self, experiment: str, key: Mapping[str, Any], compute: Callable[[], Sequence[Row]]) -> list[Row]:
        """Return the rows kept under `key`, or compute and keep them.

        `key` holds JSON values and names everything that the rows depend on: fingerprints of encoders, digests of
        texts, numbers, seeds. A file that is damaged counts as missing.
        """
        content = {"edition": _EDITION, "experiment": experiment, **key}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        path = self._folder / experiment / f"{hashlib.sha256(canonical.encode()).hexdigest()}.json"
        known = _read(path)
        if known is not None:
            return known
        rows = list(compute())
        text = json.dumps({"key": content, "rows": rows}, allow_nan=False)
        # Not secret, but made of texts that may be: for the owner alone, as the embeddings are.
        write_atomically(path, text.encode(), mode=0o600)
        kept: list[Row] = json.loads(text)["rows"]
        return kept


def _read(path: Path) -> list[Row] | None:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None
