"""The cells of generated text: what natives and pairs write from the same prompts, and answers to questions.

Multiple-choice questions are made from WordNet's glosses or read from a file in the format of MMLU. A model answers by
the letter that it writes first, and by the likeliest of the letters.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from securealign.data import TextDataset
from securealign.errors import FileError, InputError
from securealign.lab.experiments.corpora import Embeddings
from securealign.lab.experiments.generation.setting import GenerationConfig, Pair
from securealign.lab.experiments.run import Cell, Row
from securealign.lab.generation.decoding import StopRules, first_letter
from securealign.lab.generation.stitched import Prompt, StitchedModel, frame

#: A sequence of tokens that is repeated so many times is a loop; greedy decoding never leaves it.
LOOPS = 4
#: (text, whether it is a request in a conversation); requests go through the chat template of the model that reads.
PROMPTS: tuple[tuple[str, bool], ...] = (
    ("The capital of France is", False),
    ("What is the capital of Italy?", True),
    ("Once upon a time there was a farmer who", False),
    ("Explain in one sentence why the sky is blue.", True),
    ("The government announced on Monday that", False),
    ("Name three animals that live in the sea.", True),
    ("To make a good soup you first have to", False),
    ("Write a short greeting to a new neighbour.", True),
    ("The history of the city begins with", False),
    ("What do plants need to grow?", True),
    ("She opened the door and saw", False),
    ("Give me one tip for learning a language.", True),
)


def written(config: GenerationConfig, pair: Pair, stitched: StitchedModel, key: dict[str, Any]) -> list[Cell]:
    """Return what a model or a pair writes, greedily, from the first prompts."""
    chosen = PROMPTS[: config.samples]
    rules = StopRules(max_new_tokens=config.max_new_tokens, repeats=LOOPS)

    def compute() -> Iterator[Row]:
        for text, request in chosen:
            prompt = frame(stitched.source, [{"role": "user", "content": text}]) if request else Prompt(text)
            found = stitched.complete(prompt, rules)
            told = {"text": found.text, "tokens": len(found.tokens), "end": found.end.value}
            yield {"prompt": text, "request": request, **told}

    whole = {"what": "written", **key, "prompts": [list(one) for one in chosen], "rules": [rules.max_new_tokens, LOOPS]}
    names = {"source": pair[0], "target": pair[1]}
    return [Cell(table="texts", names=names, key=whole, compute=compute, kept="")]


def likeness(
    pair: Pair, stitched: Sequence[Row], natives: Mapping[str, Sequence[Row]], encoder: str, embeddings: Embeddings
) -> Row:
    """Return the mean cosine between a pair's texts and those of both natives for the same prompts, and for others."""
    texts = {"stitched": stitched, "source": natives[pair[0]], "target": natives[pair[1]]}
    # An empty text has an embedding too, but a word that says so is the same for every encoder.
    vectors = {
        name: embeddings.of(encoder, [row["text"].strip() or "(nothing)" for row in rows], "generated texts")
        for name, rows in texts.items()
    }
    row: Row = {"source": pair[0], "target": pair[1], "encoder": encoder, "prompts": len(stitched)}
    for name, (one, other) in {
        "to_source": ("stitched", "source"),
        "to_target": ("stitched", "target"),
        "natives": ("source", "target"),
    }.items():
        cosines = cosine_similarity(vectors[one].astype(np.float64), vectors[other].astype(np.float64))
        row[name] = float(np.trace(cosines)) / len(cosines)
        others = cosines[~np.eye(len(cosines), dtype=bool)]
        row[f"{name}_other_prompt"] = float(others.mean()) if len(others) else None
    row["mean_tokens"] = fmean(one["tokens"] for one in stitched)
    row["loops"] = sum(one["end"] == "repetition" for one in stitched)
    return row


LETTERS = "ABCD"
#: A model that writes no letter within so many tokens gives no answer.
_MOST_TOKENS = 6


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
    """Return the first questions of a JSONL file; raises `InputError` that names the line which does not hold one."""
    found: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and len(found) < count:
            try:
                found.append(_read(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise FileError(
                    f"Line {number} of {path} holds no question ({type(error).__name__}: {error}).",
                    hint='Each line needs "question", "choices" (2 to 4 texts) and "answer" (an index or a letter).',
                ) from error
    if not found:
        raise FileError(f"{path} holds no questions.", hint="Give one on each line.")
    return found


def _read(content: dict[str, object]) -> Question:
    choices, answer = content["choices"], content["answer"]
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError("choices must be 2 to 4 texts")
    index = LETTERS.index(answer.strip().upper()) if isinstance(answer, str) and answer.strip() else answer
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        raise ValueError("answer names none of the choices")
    return Question(str(content["question"]), tuple(map(str, choices)), index)


def answered(pair: Pair, stitched: StitchedModel, key: dict[str, Any], questions: Sequence[Question]) -> list[Cell]:
    """Return how many questions are answered, and rightly, by the first letter written and by the likeliest letter."""
    asked = [asdict(question) for question in questions]
    whole = {"what": "answers", **key, "questions": asked, "tokens": _MOST_TOKENS}
    names = {"source": pair[0], "target": pair[1]}
    return [Cell(table="questions", names=names, key=whole, compute=lambda: [_ask(stitched, questions)], kept="")]


def _ask(stitched: StitchedModel, questions: Sequence[Question]) -> Row:
    # The token of each letter where it goes on from "Answer:".
    tokens = [int(stitched.target.tokenize([f"Answer: {letter}"])[0].ids[-1]) for letter in LETTERS]
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
