"""How well mapped states predict the next token through the target's head, beside the target's own states."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.lab.generation.causal import POST_NORM, CausalModel
from securealign.lab.generation.fitting import PairedStates
from securealign.lab.measures.fits import explained
from securealign.optional import require


@dataclass(frozen=True)
class Predictions:
    """Of each position: loss of the token that follows, in nats (n,), and the likeliest token (n,)."""

    nll: npt.NDArray[np.float64]
    best: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Means over positions: loss in nats, share of right first guesses, and how often two models guess alike."""

    positions: int
    nll: float
    top1: float
    agreement: float

    @property
    def perplexity(self) -> float:
        """The exponential of the loss."""
        return float(np.exp(self.nll))


def predict(
    model: CausalModel, states: npt.NDArray[np.floating], following: npt.NDArray[np.int64], depth: str = POST_NORM
) -> Predictions:
    """Return what the model's head says of states (n, d) taken at `depth`, against the tokens that follow (n,)."""
    torch = require("torch", "A language model")
    nll, best = np.empty(len(states)), np.empty(len(states), dtype=np.int64)
    for rows, logits in model.logit_blocks(states, depth):
        truth = torch.from_numpy(following[rows])
        with torch.inference_mode():
            given = logits.gather(1, truth.unsqueeze(1)).squeeze(1)
            most, likeliest = logits.max(dim=1)
            # In place: a second array of this size would take longer to get from the kernel than to fill.
            total = logits.sub_(most.unsqueeze(1)).exp_().sum(dim=1)
            nll[rows] = (most + total.log() - given).numpy()
            best[rows] = likeliest.numpy()
    return Predictions(nll, best)


def score(
    predictions: Predictions,
    reference: Predictions,
    following: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_] | None = None,
) -> Scores:
    """Return the scores of predictions over the kept positions; `agreement` is that with `reference`."""
    rows = np.ones(len(following), dtype=bool) if kept is None else kept
    return Scores(
        positions=int(rows.sum()),
        nll=float(predictions.nll[rows].mean()),
        top1=float((predictions.best == following)[rows].mean()),
        agreement=float((predictions.best == reference.best)[rows].mean()),
    )


def predict_mapped(
    target: CausalModel, alignment: AlignmentMap, pairs: PairedStates, *, depth: str, landing: str
) -> tuple[Predictions, float]:
    """Return what the target's head says of mapped states, and the R^2 of the map on these pairs."""
    mapped = alignment.apply(pairs.source[depth])
    return predict(target, mapped, pairs.following, landing), explained(pairs.target[landing], mapped)


@dataclass(frozen=True)
class NativeScores:
    """A model on its own tokens: `bits_per_character` compares models with different tokens."""

    tokens: int
    characters: int
    nll: float
    top1: float

    @property
    def bits_per_character(self) -> float:
        """The loss of a text, in bits for each of its characters."""
        return self.nll * self.tokens / (self.characters * float(np.log(2)))


def score_native(
    model: CausalModel, texts: Sequence[str] | Iterable[str], *, count: int, max_tokens: int = 128
) -> NativeScores:
    """Score a model by itself on the tokens of texts, from each text's second, until `count` tokens are scored."""
    nll: list[float] = []
    right = tokens = characters = 0
    for text in texts:
        read = model.tokenize([text], max_tokens=max_tokens)[0]
        at = np.arange(1, len(read.ids) - 1)
        if tokens >= count or not len(at):
            continue
        states = model.states([read.ids])[POST_NORM][0]
        found = predict(model, states[at], read.ids[at + 1])
        nll.append(float(found.nll.sum()))
        right += int((found.best == read.ids[at + 1]).sum())
        tokens += len(at)
        characters += int(read.ends[at[-1] + 1] - max(read.ends[at[0]], 0))
    return NativeScores(tokens, max(characters, 1), sum(nll) / max(tokens, 1), right / max(tokens, 1))
