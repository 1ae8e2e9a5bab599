"""The cells of multiple choice: the letter that a model writes first, and the likeliest of the letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from securealign.lab.experiments.generation.questions import LETTERS, Question
from securealign.lab.experiments.generation.setting import Pair
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.store import Row
from securealign.lab.generation.causal import CausalModel
from securealign.lab.generation.chat import Prompt
from securealign.lab.generation.stitched import StitchedModel
from securealign.lab.generation.stopping import StopRules, first_letter

#: A model that writes no letter within so many tokens gives no answer.
_MOST_TOKENS = 6


def answered(pair: Pair, stitched: StitchedModel, key: dict[str, Any], questions: Sequence[Question]) -> list[Cell]:
    """Return how many questions are answered, and rightly, by the first letter written and by the likeliest letter."""
    whole = {
        "what": "answers",
        **key,
        "questions": [asdict(question) for question in questions],
        "tokens": _MOST_TOKENS,
    }
    names = {"source": pair[0], "target": pair[1]}
    return [Cell(table="questions", names=names, key=whole, compute=lambda: [_ask(stitched, questions)], kept="")]


def _ask(stitched: StitchedModel, questions: Sequence[Question]) -> Row:
    tokens = letter_tokens(stitched.target)
    given = right = likeliest = 0
    for question in questions:
        prompt, letters = Prompt(question.prompt()), LETTERS[: len(question.choices)]
        logits = stitched.next_logits(prompt)
        best = max(range(len(letters)), key=lambda choice: float(logits[tokens[choice]]))
        likeliest += best == question.answer
        text = stitched.complete(prompt, StopRules(max_new_tokens=_MOST_TOKENS, letters=letters)).text
        letter = first_letter(text, letters)
        given += letter is not None
        right += letter == LETTERS[question.answer]
    return {
        "questions": len(questions),
        "answered": given,
        "written": right / len(questions),
        "likeliest": likeliest / len(questions),
        "chance": sum(1 / len(question.choices) for question in questions) / len(questions),
    }


def letter_tokens(model: CausalModel) -> list[int]:
    """Return the token of each letter where it goes on from "Answer:"."""
    return [int(model.tokenize([f"Answer: {letter}"])[0].ids[-1]) for letter in LETTERS]
