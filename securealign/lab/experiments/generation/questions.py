"""Multiple-choice questions: made from WordNet's glosses, or read from a file in the format of MMLU."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securealign.data import TextDataset
from securealign.errors import ErrorCode, InputError

LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """A question with choices, the right one by its index."""

    question: str
    choices: tuple[str, ...]
    answer: int

    def prompt(self) -> str:
        """Return the question as a prompt, which the letter of an answer follows."""
        lines = [f"{letter}) {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False)]
        return "\n".join([f"Question: {self.question}", *lines, "Answer:"])


def category_questions(glosses: TextDataset, count: int, *, seed: int = 0) -> list[Question]:
    """Return questions which of four classes fits a text; raises `InputError` for fewer than four classes."""
    if glosses.labels is None or len(glosses.class_names) < len(LETTERS):
        raise InputError(f"{glosses.name!r} has too few classes for four choices.", hint="Give four classes or more.")
    drawn = random.Random(seed)  # noqa: S311 - which questions are asked is no secret
    shuffled = glosses.shuffled(seed).take(count)
    found = []
    for text, label in zip(shuffled.texts, shuffled.labels or (), strict=True):
        others = [name for index, name in enumerate(shuffled.class_names) if index != label]
        choices = [*drawn.sample(others, len(LETTERS) - 1), shuffled.class_names[label]]
        drawn.shuffle(choices)
        right = choices.index(shuffled.class_names[label])
        found.append(Question(f"Which category fits: {text}?", tuple(choices), right))
    return found


def read_questions(path: Path, count: int) -> list[Question]:
    """Return the first questions of a JSONL file with the fields question, choices and answer (an index or a letter).

    Raises `InputError` that names the line which does not hold one.
    """
    found: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and len(found) < count:
            try:
                found.append(_read(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"Line {number} of {path} holds no question ({type(error).__name__}: {error}).",
                    hint='Each line needs "question", "choices" (2 to 4 texts) and "answer" (an index or a letter).',
                    code=ErrorCode.FILE_INVALID,
                ) from error
    if not found:
        raise InputError(f"{path} holds no questions.", hint="Give one on each line.", code=ErrorCode.FILE_INVALID)
    return found


def _read(content: dict[str, object]) -> Question:
    choices, answer = content["choices"], content["answer"]
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError("choices must be 2 to 4 texts")
    index = LETTERS.index(answer.strip().upper()) if isinstance(answer, str) and answer.strip() else answer
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        raise ValueError("answer names none of the choices")
    return Question(str(content["question"]), tuple(map(str, choices)), index)
