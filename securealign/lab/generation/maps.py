"""Maps between language models, kept in the user's cache under a hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import Penalty
from securealign.cache import cache_root
from securealign.data.digest import dataset_digest
from securealign.errors import InputError
from securealign.lab.generation.causal import CausalModel
from securealign.lab.generation.fitting import PAPER_RIDGE, Stitch, fit_stitches
from securealign.models.encoder import Progress

_EDITION = 1


@dataclass(frozen=True)
class FitSettings:
    """How maps are fitted: pairs of tokens, penalty, `exact` ends only, and how much of a text is read."""

    pairs: int = 40_000
    ridge: Penalty = PAPER_RIDGE
    exact: bool = False
    max_tokens: int = 128


def map_key(models: Mapping[str, CausalModel], stitch: Stitch, texts_digest: str, settings: FitSettings) -> str:
    """Return a hexadecimal SHA-256 over everything that a map depends on."""
    content: dict[str, Any] = {
        "edition": _EDITION,
        "source": models[stitch.source].fingerprint,
        "target": models[stitch.target].fingerprint,
        "depth": stitch.depth,
        "landing": stitch.landing,
        "texts": texts_digest,
        **asdict(settings),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fitted_maps(
    models: Mapping[str, CausalModel],
    stitches: Sequence[Stitch],
    texts: Sequence[str],
    settings: Sequence[FitSettings],
    *,
    folder: Path | None = None,
    report: Progress | None = None,
) -> dict[tuple[Stitch, FitSettings], AlignmentMap]:
    """Return the map of each stitch under each of `settings`, which differ in their penalty alone.

    What is not in the cache is fitted in one pass over the texts and kept there.
    """
    root = folder if folder is not None else cache_root() / "maps"
    digest = dataset_digest(tuple(texts)).hex()
    wanted = {
        (stitch, one): root / map_key(models, stitch, digest, one)[:32] for stitch in stitches for one in settings
    }
    found = {key: known for key, path in wanted.items() if (known := _known(path)) is not None}
    missing = [stitch for stitch in stitches if any((stitch, one) not in found for one in settings)]
    if missing:
        shared = {name: value for name, value in asdict(settings[0]).items() if name != "ridge"}
        fitted = fit_stitches(models, missing, texts, report=report, **shared)
        for stitch, accumulator in fitted.items():
            for one in settings:
                solved = accumulator.solve(one.ridge)
                metadata = {**solved.metadata, **asdict(stitch), "texts": digest, "penalty": one.ridge}
                found[stitch, one] = AlignmentMap(solved.weight, solved.bias, metadata)
                found[stitch, one].save_pretrained(wanted[stitch, one])
    return found


def _known(path: Path) -> AlignmentMap | None:
    try:
        return AlignmentMap.from_pretrained(path)
    except InputError:
        return None
