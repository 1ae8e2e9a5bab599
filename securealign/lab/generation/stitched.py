"""Decoding through another model's head: source body, alignment map, target head (paper, section 3.2).

Each token of the target is turned into text, which the source's tokenizer cuts again. The whole text is tokenised after
each token, because an added letter can change the tokens before it; the key-value cache keeps those that are the same.
Models with equal vocabularies exchange token numbers instead.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from securealign.alignment.maps import AlignmentMap
from securealign.errors import ErrorCode, InputError
from securealign.lab.generation.causal import CausalModel, same_tokens
from securealign.lab.generation.chat import Prompt
from securealign.lab.generation.context import Context
from securealign.lab.generation.depths import POST_NORM
from securealign.lab.generation.sampling import Chooser, Sampling
from securealign.lab.generation.stopping import End, StopRules, StopScanner, first_letter, loops
from securealign.lab.generation.utf8 import TokenBytes


@dataclass(frozen=True)
class Step:
    """A token and the text to show after it; the last step has a reason to end, and may have no token."""

    token: int | None
    text: str
    end: End | None = None


@dataclass(frozen=True)
class Completion:
    """A generated text with its tokens of the target."""

    text: str
    tokens: tuple[int, ...]
    end: End


class StitchedModel:
    """The body of `source` with the head of `target`; without a map, the two must have the same hidden size.

    `depth` is where the source's state is taken and `landing` where in the target the map leads. Raises `InputError`
    when the map does not lead from one to the other.
    """

    def __init__(
        self,
        source: CausalModel,
        target: CausalModel,
        alignment: AlignmentMap | None,
        *,
        depth: str = POST_NORM,
        landing: str = POST_NORM,
    ) -> None:
        shape = (source.dimension, source.dimension) if alignment is None else alignment.weight.shape
        if shape != (source.dimension, target.dimension):
            raise InputError(
                f"A map of {shape[0]} to {shape[1]} dimensions does not lead from {source.name} "
                f"({source.dimension}) to {target.name} ({target.dimension}).",
                hint="Fit the map for these two models, in this direction.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        self.source, self.target, self.alignment = source, target, alignment
        self._landing = landing
        self._direct = same_tokens(source, target)
        self._bytes = TokenBytes(target.tokenizer, target.vocabulary, target.special_ids)
        self._context = Context(source, depth)

    @classmethod
    def native(cls, model: CausalModel) -> StitchedModel:
        """Return a model with its own head."""
        return cls(model, model, None)

    def next_logits(self, prompt: Prompt) -> Any:  # noqa: ANN401 - a tensor
        """Return the target's logits (V,) for the token that follows a prompt."""
        return self._logits(self._prompt_ids(prompt, ""))

    def stream(
        self, prompt: Prompt, rules: StopRules | None = None, sampling: Sampling | None = None
    ) -> Iterator[Step]:
        """Yield the tokens that follow a prompt; the last step says why there are no more."""
        rules = self._with_stops(rules or StopRules(), prompt)
        chooser, scanner = Chooser(sampling or Sampling()), StopScanner(rules.strings)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        tokens: list[int] = []
        generated = ""
        end: End | None = None
        while end is None:
            ids = self._prompt_ids(prompt, "" if self._direct else generated) + (tokens if self._direct else [])
            # An incomplete character adds no text for the source, so its state has not changed: only tokens that
            # continue the character are allowed.
            allowed = self._bytes.continuing if decoder.getstate()[0] and not self._direct else None
            token = chooser.choose(self._logits(ids), allowed)
            end = self._special_end(token)
            if end is None:
                tokens.append(token)
                piece = decoder.decode(self._bytes.of(token))
                generated += piece
                shown = scanner.push(piece)
                end = _end(rules, tokens, generated, stopped=scanner.stopped)
                yield Step(token, shown)
        rest = scanner.push(decoder.decode(b"", final=True))
        yield Step(None, rest + scanner.finish(), end)

    def complete(self, prompt: Prompt, rules: StopRules | None = None, sampling: Sampling | None = None) -> Completion:
        """Return the whole text that follows a prompt."""
        steps = list(self.stream(prompt, rules, sampling))
        tokens = tuple(step.token for step in steps if step.token is not None)
        return Completion("".join(step.text for step in steps), tokens, steps[-1].end or End.LENGTH)

    def _with_stops(self, rules: StopRules, prompt: Prompt) -> StopRules:
        # A target without the source's end of turn among its tokens may write it as text.
        names = self.source.tokenizer.convert_ids_to_tokens(sorted(self.source.end_ids))
        return replace(rules, strings=(*rules.strings, *prompt.stops, *names))

    def _prompt_ids(self, prompt: Prompt, generated: str) -> list[int]:
        encoded = self.source.tokenizer(prompt.text + generated, add_special_tokens=prompt.special)
        return list(map(int, encoded["input_ids"]))

    def _logits(self, ids: list[int]) -> Any:  # noqa: ANN401 - a tensor
        state = self._context.read(ids)[None, :]
        return self.target.logits(state if self.alignment is None else self.alignment.apply(state), self._landing)[0]

    def _special_end(self, token: int) -> End | None:
        if token in self.target.end_ids:
            return End.TURN
        return None if self._bytes.of(token) else End.SPECIAL


def _end(rules: StopRules, tokens: list[int], generated: str, *, stopped: bool) -> End | None:
    if stopped:
        return End.STRING
    if first_letter(generated, rules.letters):
        return End.LETTER
    if loops(tokens, rules.repeats):
        return End.REPETITION
    return End.LENGTH if len(tokens) >= rules.max_new_tokens else None
