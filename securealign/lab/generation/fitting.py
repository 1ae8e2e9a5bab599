"""Ridge regression of one model's hidden states on another's, streamed: memory does not grow with the texts."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import CrossMoments, Penalty, solve_ridge
from securealign.cache import cache_root
from securealign.data.digest import dataset_digest
from securealign.errors import ErrorCode, InputError
from securealign.lab.generation.causal import POST_NORM, CausalModel, States, Tokens
from securealign.lab.measures.tokenizers import TokenPairs, pair_tokens
from securealign.models.encoder import Progress

#: Penalty of the paper (appendix B), in the units of the Gram matrix.
PAPER_RIDGE = 1e-4
_BATCH = 16
#: The state of a text's first token (an attention sink) hardly depends on the token, so it is not paired.
_FIRST = 1
_BLOCK_PAIRS = 2048


@dataclass(frozen=True)
class Stitch:
    """Two models and the places of a map between them: from `depth` in `source` to `landing` in `target`."""

    source: str
    target: str
    depth: str = POST_NORM
    landing: str = POST_NORM


@dataclass(frozen=True)
class PairedStates:
    """Paired states (n, d_B) and (n, d_A), the target's next token (n,), and whether both end at one character."""

    source: Mapping[str, States]
    target: Mapping[str, States]
    following: np.ndarray[tuple[int], np.dtype[np.int64]]
    exact: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def __len__(self) -> int:
        return len(self.following)


class PairAccumulator:
    """Moments of paired states; rows are collected into large blocks first, because their products are fast."""

    def __init__(self, source_columns: int, target_columns: int) -> None:
        self.moments = CrossMoments.empty(source_columns, target_columns)
        self._waiting: list[tuple[States, States]] = []
        self._rows = 0

    @property
    def count(self) -> int:
        """How many pairs have arrived."""
        return self.moments.source.count + self._rows

    def add(self, source: States, target: States) -> None:
        """Add paired rows (n, d_B) and (n, d_A)."""
        self._waiting.append((source, target))
        self._rows += len(source)
        if self._rows >= _BLOCK_PAIRS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            source, target = (np.concatenate(parts).astype(np.float64) for parts in zip(*self._waiting, strict=True))
            self.moments.update(source, target)
        self._waiting, self._rows = [], 0

    def solve(self, ridge: Penalty) -> AlignmentMap:
        """Return the map of all pairs so far; raises `InputError` when there are none."""
        self._flush()
        if not self.moments.source.count:
            raise InputError(
                "The texts gave no pair of tokens.", hint="Give longer texts.", code=ErrorCode.TOO_FEW_ROWS
            )
        return solve_ridge(self.moments.source, self.moments.target_mean, self.moments.cross, ridge)


def fit_stitches(
    models: Mapping[str, CausalModel],
    stitches: Sequence[Stitch],
    texts: Iterable[str],
    *,
    pairs: int,
    exact: bool = False,
    max_tokens: int = 128,
    report: Progress | None = None,
) -> dict[Stitch, PairAccumulator]:
    """Return the moments of each stitch over up to `pairs` pairs of tokens, or all; each model reads each text once."""
    found = {
        stitch: PairAccumulator(models[stitch.source].dimension, models[stitch.target].dimension) for stitch in stitches
    }
    depths: dict[str, list[str]] = defaultdict(list)
    for stitch in stitches:
        depths[stitch.source].append(stitch.depth)
        depths[stitch.target].append(stitch.landing)
    for batch in _batches(texts):
        read = {
            name: _Read(models[name], batch, list(dict.fromkeys(taken)), max_tokens) for name, taken in depths.items()
        }
        for stitch, accumulator in found.items():
            source, target = read[stitch.source], read[stitch.target]
            for text in range(len(batch)):
                at = _usable(source.tokens[text], target.tokens[text], pairs - accumulator.count, exact=exact)
                if len(at.target):
                    accumulator.add(
                        source.states[stitch.depth][text][at.source], target.states[stitch.landing][text][at.target]
                    )
        done = min(accumulator.count for accumulator in found.values())
        if report is not None:
            report(done, pairs)
        if done >= pairs:
            break
    return found


def paired_states(
    source: CausalModel,
    target: CausalModel,
    depths: tuple[Sequence[str], Sequence[str]],
    texts: Iterable[str],
    *,
    count: int,
    max_tokens: int = 128,
) -> PairedStates:
    """Return up to `count` paired states at the (source, target) `depths`, with the target's next token of each."""
    rows: list[PairedStates] = []
    total = 0
    for batch in _batches(texts):
        if source is target:
            read = [_Read(source, batch, list(dict.fromkeys((*depths[0], *depths[1]))), max_tokens)] * 2
        else:
            read = [_Read(source, batch, depths[0], max_tokens), _Read(target, batch, depths[1], max_tokens)]
        for text in range(len(batch)):
            rows.append(_pair(read[0], read[1], text, count - total))
            total += len(rows[-1])
        if total >= count:
            break
    if not total:
        raise InputError("The texts gave no pair of tokens.", hint="Give longer texts.", code=ErrorCode.TOO_FEW_ROWS)
    return PairedStates(
        {depth: np.concatenate([row.source[depth] for row in rows]) for depth in depths[0]},
        {depth: np.concatenate([row.target[depth] for row in rows]) for depth in depths[1]},
        np.concatenate([row.following for row in rows]),
        np.concatenate([row.exact for row in rows]),
    )


class _Read:
    """A batch of texts as one model reads it."""

    def __init__(self, model: CausalModel, batch: Sequence[str], depths: Sequence[str], max_tokens: int) -> None:
        self.tokens: list[Tokens] = model.tokenize(batch, max_tokens=max_tokens)
        self.states = model.states([tokens.ids for tokens in self.tokens], depths)


def _usable(source: Tokens, target: Tokens, room: int, *, exact: bool = False, last: bool = True) -> TokenPairs:
    """Return up to `room` pairs of tokens, none with a first token; without `last`, none with the target's last."""
    at = pair_tokens(target.ends, source.ends, exact=exact)
    usable = (at.source >= _FIRST) & (at.target >= _FIRST) & (last | (at.target + 1 < len(target.ids)))
    return TokenPairs(at.target[usable][:room], at.source[usable][:room])


def _pair(source: _Read, target: _Read, text: int, room: int) -> PairedStates:
    target_tokens, source_tokens = target.tokens[text], source.tokens[text]
    to, from_ = _usable(source_tokens, target_tokens, room, last=False)
    return PairedStates(
        {depth: states[text][from_] for depth, states in source.states.items()},
        {depth: states[text][to] for depth, states in target.states.items()},
        target_tokens.ids[to + 1],
        target_tokens.ends[to] == source_tokens.ends[from_],
    )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = (text for text in texts if text.strip())
    while batch := list(islice(rest, _BATCH)):
        yield batch


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
    """Return the map of each stitch under each of `settings`, which differ in their penalty; new ones are kept."""
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
