"""An encoder at an endpoint, whose model is recognised by the embeddings of a few fixed sentences."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securealign.cache import cache_root
from securealign.errors import AssetError, EndpointError, ErrorCode
from securealign.files import write_atomically
from securealign.models.encoder import Encoder, Progress, TextError, fingerprint_of
from securealign.models.endpoint.answers import check_dimension, read_answer
from securealign.models.endpoint.service import Ask, Endpoint, RefusedContent

#: What the model is recognised by: of different fields, languages and lengths. Never change them.
CANARIES = (
    "The ship left the harbour at dawn.",
    "Interest rates rose by a quarter of a percentage point, and bonds fell.",
    "def add(a, b): return a + b",
    "Die Suppe ist versalzen.",
    "No fever, no cough; blood pressure 120/80.",
)
#: Relative to the length of an embedding: a cosine of 0.9995. Servers round differently from one request to the next,
#: but less; another model changes an embedding by about its length.
_TOLERANCE = 0.03
_COSINE_TOLERANCE = 0.05
_LIKENESS = "encoder_canaries"
_NEW_MODEL = (
    "Ask the vendor for the old model. To use the new one, set revision to another text, and align again (a provider: "
    "fit the head again)."
)
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character, which no request can carry
_BATCH = 64


@dataclass
class Usage:
    """What a party has asked of an endpoint: texts, tokens where the endpoint tells them, and seconds of waiting."""

    texts: int = 0
    tokens: int | None = None
    seconds: float = 0.0

    def add(self, texts: int, tokens: int | None, seconds: float) -> None:
        """Add a request."""
        self.texts += texts
        self.seconds += seconds
        if tokens is not None:
            self.tokens = (self.tokens or 0) + tokens


def usage_of(encoder: Encoder) -> dict[str, object] | None:
    """Return the figures of what was asked of an endpoint, for a log; None for an encoder that runs here."""
    if not isinstance(encoder, EndpointEncoder):
        return None
    usage = encoder.usage
    rate = round(usage.texts / usage.seconds, 1) if usage.seconds > 0 else None
    return {
        "host": encoder.endpoint.host,
        "embedded": usage.texts,
        "tokens": usage.tokens,
        "seconds": round(usage.seconds, 1),
        "per_second": rate,
    }


def likeness_of(encoder: Encoder | None) -> dict[str, list[float]]:
    """Return what maps and heads keep of a model at an endpoint, to recognise it where the cache is another."""
    return {_LIKENESS: encoder.cosines} if isinstance(encoder, EndpointEncoder) else {}


def check_likeness(encoder: Encoder, metadata: Mapping[str, Any], made: str) -> None:
    """Raise `EndpointError` where the `metadata` of what was `made` with this encoder tell of another model."""
    if not isinstance(encoder, EndpointEncoder) or _LIKENESS not in metadata:
        return
    kept = metadata[_LIKENESS]
    same_form = isinstance(kept, list) and len(kept) == len(encoder.cosines)
    difference = float(np.abs(np.subtract(kept, encoder.cosines)).max()) if same_form else 2.0
    if difference > _COSINE_TOLERANCE:
        raise EndpointError(
            f"{made} was made with another model: cosines between the same sentences by {encoder.name} differ by "
            f"{difference:.2f} from those kept with it ({_COSINE_TOLERANCE} are allowed).",
            hint=_NEW_MODEL,
            code=ErrorCode.ENDPOINT_CHANGED,
        )


class EndpointEncoder:
    """An encoder at an OpenAI-compatible endpoint; opening it embeds five fixed sentences.

    Their embeddings are kept in the cache under all settings, `revision` among them, and compared at each opening.
    `prompt` stands before every text. Raises `EndpointError` for an endpoint that cannot be used or whose model has
    changed, `ConfigurationError` for a key that is not set, `DependencyError` where openai is not installed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prompt: str | None = None,
        revision: str = "",
        cache: Path | None = None,
        batch_size: int = _BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.name = f"{endpoint.model} at {endpoint.host}"
        self.prompt = prompt or ""
        self.usage = Usage()
        self.fingerprint = fingerprint_of(
            {},
            {
                "endpoint": endpoint.url.rstrip("/"),
                "model": endpoint.model,
                "dimensions": endpoint.dimensions,
                "prompt": self.prompt,
                "revision": revision,
            },
        )
        self._size = batch_size
        self._clock = clock
        self._encoding = "base64"
        with endpoint.connected() as ask:
            found = self._first_answer(ask)
        self.dimension = endpoint.dimensions or found.shape[1]
        check_dimension(found, self.dimension, endpoint.host)
        self._compare(found, (cache or cache_root()) / "canaries" / f"{self.fingerprint[:32]}.npy")
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
        cosines = (unit @ unit.T)[np.triu_indices(len(CANARIES), 1)]
        #: Between the canaries, each pair once.
        self.cosines = [round(float(cosine), 4) for cosine in cosines]

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings (n, d); raises `TextError` for a text that the endpoint refuses, and `EndpointError`."""
        for row, text in enumerate(texts):
            if _SURROGATE.search(text):
                raise TextError(row, "holds a lone surrogate.", hint="Repair the source's encoding.")
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        first = 0
        with self.endpoint.connected() as ask:
            while first < len(texts):
                batch = texts[first : first + self._size]
                try:
                    found = self._embed(ask, batch)
                except RefusedContent as error:
                    if len(batch) == 1:
                        raise _refused(first, self.name) from error
                    # Too many texts for one request, or one of them is refused: smaller ones show which.
                    self._size = len(batch) // 2
                    continue
                except TextError as error:
                    raise error.at(first + error.row) from None
                check_dimension(found, self.dimension, self.endpoint.host)
                vectors[first : first + len(batch)] = found
                first += len(batch)
                if progress is not None:
                    progress(first, len(texts))
        return vectors

    def _first_answer(self, ask: Ask) -> NDArray[np.float32]:
        """Return the embeddings of the canaries, and find out whether the server gives base64."""
        try:
            return self._embed(ask, CANARIES)
        except RefusedContent:
            self._encoding = "float"
            return self._embed(ask, CANARIES)
        except TextError as error:
            raise EndpointError(
                f"{self.name} gives NaN or infinite values for plain sentences.",
                hint="Use another model.",
                code=ErrorCode.NON_FINITE_INPUT,
            ) from error

    def _embed(self, ask: Ask, texts: Sequence[str]) -> NDArray[np.float32]:
        begun = self._clock()
        content = ask([self.prompt + text for text in texts], self._encoding)
        matrix, tokens = read_answer(content, len(texts), self.endpoint.host)
        self.usage.add(len(texts), tokens, self._clock() - begun)
        return matrix

    def _compare(self, found: NDArray[np.float32], file: Path) -> None:
        """Raise `EndpointError` for canaries unlike those that are kept, and keep the first ones."""
        try:
            with file.open("rb") as content:
                kept = np.load(content, allow_pickle=False)
        except FileNotFoundError:
            _keep(found, file)
            return
        except (OSError, ValueError, EOFError) as error:
            raise AssetError(
                f"{file}, by which a changed model is noticed, cannot be read.", hint="Restore the file or remove it."
            ) from error
        if kept.shape != found.shape:
            change = f"embeddings of {found.shape[1]} dimensions where it gave {kept.shape[-1]}"
        else:
            distance = np.linalg.norm(found - kept, axis=1) / np.maximum(np.linalg.norm(kept, axis=1), 1e-30)
            if distance.max() <= _TOLERANCE:
                return
            change = f"embeddings of the same sentences that differ from earlier ones by {distance.max():.0%}"
        raise EndpointError(
            f"{self.name} gives {change} ({_TOLERANCE:.0%} are allowed): its model has changed.",
            hint=_NEW_MODEL,
            code=ErrorCode.ENDPOINT_CHANGED,
        )


def _keep(found: NDArray[np.float32], file: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, found)
    try:
        write_atomically(file, buffer.getvalue(), mode=0o600)
    except OSError as error:
        raise AssetError(
            f"{file} cannot be written: {error}.",
            hint="Free space there, or set SECUREALIGN_CACHE to a folder you can write to.",
        ) from error


def _refused(row: int, name: str) -> TextError:
    return TextError(
        row,
        f"is refused by {name}: it is empty, or longer than the model reads.",
        hint="Shorten the text or leave it out, on both sides if it is public.",
    )
