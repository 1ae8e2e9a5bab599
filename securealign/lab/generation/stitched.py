"""Decoding through another model's head: source body, alignment map, target head (paper, section 3.2).

Each token of the target is turned into text, which the source's tokenizer cuts again. The whole text is tokenised after
each token, because an added letter can change the tokens before it; the key-value cache keeps those that are the same.
Models with equal vocabularies exchange token numbers instead.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from securealign.alignment.maps import AlignmentMap
from securealign.errors import InputError, ShapeError
from securealign.lab.generation import decoding
from securealign.lab.generation.causal import POST_NORM, CausalModel, States, same_tokens
from securealign.optional import require

#: {"role": "user" or "assistant", "content": text}, as chat templates take them.
Message = Mapping[str, str]

_USER, _ASSISTANT = "User:", "Assistant:"


@dataclass(frozen=True)
class Prompt:
    """A text to continue; `special` adds the tokenizer's special tokens, `stops` are strings that end the answer."""

    text: str
    special: bool = True
    stops: tuple[str, ...] = ()


def frame(model: CausalModel, messages: Sequence[Message]) -> Prompt:
    """Return a conversation as the model's chat template writes it, or as named lines for a base model."""
    if model.tokenizer.chat_template:
        text = model.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return Prompt(text, special=False)
    names = {"user": _USER, "assistant": _ASSISTANT}
    lines = [f"{names.get(message['role'], message['role'])} {message['content']}" for message in messages]
    return Prompt("\n".join([*lines, _ASSISTANT]), stops=(f"\n{_USER}", f"\n{_ASSISTANT}"))


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


@dataclass(frozen=True)
class Step:
    """A token and the text to show after it; the last step has a reason to end, and may have no token."""

    token: int | None
    text: str
    end: decoding.End | None = None


@dataclass(frozen=True)
class Completion:
    """A generated text with its tokens of the target."""

    text: str
    tokens: tuple[int, ...]
    end: decoding.End


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
            raise ShapeError(
                f"A map of {shape[0]} to {shape[1]} dimensions does not lead from {source.name} "
                f"({source.dimension}) to {target.name} ({target.dimension}).",
                hint="Fit the map for these two models, in this direction.",
            )
        self.source, self.target, self.alignment = source, target, alignment
        self._landing = landing
        self._direct = same_tokens(source, target)
        self._bytes = decoding.TokenBytes(target.tokenizer, target.vocabulary, target.special_ids)
        self._context = Context(source, depth)

    @classmethod
    def native(cls, model: CausalModel) -> StitchedModel:
        """Return a model with its own head."""
        return cls(model, model, None)

    def next_logits(self, prompt: Prompt) -> Any:  # noqa: ANN401 - a tensor
        """Return the target's logits (V,) for the token that follows a prompt."""
        return self._logits(self._prompt_ids(prompt, ""))

    def stream(
        self, prompt: Prompt, rules: decoding.StopRules | None = None, sampling: decoding.Sampling | None = None
    ) -> Iterator[Step]:
        """Yield the tokens that follow a prompt; the last step says why there are no more."""
        rules = rules or decoding.StopRules()
        # A target without the source's end of turn among its tokens may write it as text.
        names = self.source.tokenizer.convert_ids_to_tokens(sorted(self.source.end_ids))
        rules = replace(rules, strings=(*rules.strings, *prompt.stops, *names))
        chooser, scanner = decoding.Chooser(sampling or decoding.Sampling()), decoding.StopScanner(rules.strings)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        tokens: list[int] = []
        generated = ""
        end: decoding.End | None = None
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

    def complete(
        self, prompt: Prompt, rules: decoding.StopRules | None = None, sampling: decoding.Sampling | None = None
    ) -> Completion:
        """Return the whole text that follows a prompt."""
        steps = list(self.stream(prompt, rules, sampling))
        tokens = tuple(step.token for step in steps if step.token is not None)
        return Completion("".join(step.text for step in steps), tokens, steps[-1].end or decoding.End.LENGTH)

    def _prompt_ids(self, prompt: Prompt, generated: str) -> list[int]:
        encoded = self.source.tokenizer(prompt.text + generated, add_special_tokens=prompt.special)
        return list(map(int, encoded["input_ids"]))

    def _logits(self, ids: list[int]) -> Any:  # noqa: ANN401 - a tensor
        state = self._context.read(ids)[None, :]
        return self.target.logits(state if self.alignment is None else self.alignment.apply(state), self._landing)[0]

    def _special_end(self, token: int) -> decoding.End | None:
        if token in self.target.end_ids:
            return decoding.End.TURN
        return None if self._bytes.of(token) else decoding.End.SPECIAL


def _end(rules: decoding.StopRules, tokens: list[int], generated: str, *, stopped: bool) -> decoding.End | None:
    if stopped:
        return decoding.End.STRING
    if decoding.first_letter(generated, rules.letters):
        return decoding.End.LETTER
    if decoding.loops(tokens, rules.repeats):
        return decoding.End.REPETITION
    return decoding.End.LENGTH if len(tokens) >= rules.max_new_tokens else None
