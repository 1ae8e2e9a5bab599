"""Multiple-choice questions from glosses and from files."""

import json

import pytest

from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.experiments.generation.writing import LETTERS, Question, category_questions, read_questions

NAMES = ("act", "animal", "food", "person", "plant")
GLOSSES = TextDataset(
    name="glosses",
    texts=tuple(f"gloss {n}" for n in range(20)),
    labels=tuple(n % 5 for n in range(20)),
    class_names=NAMES,
)


def test_questions_offer_the_right_class_among_three_others():
    questions = category_questions(GLOSSES, 12, seed=1)
    assert len(questions) == 12
    for question in questions:
        number = int(question.question.split()[-1].rstrip("?"))
        assert question.choices[question.answer] == NAMES[number % 5]
        assert len(set(question.choices)) == 4
    assert {question.answer for question in questions} == {0, 1, 2, 3}


def test_questions_depend_on_the_seed_alone():
    assert category_questions(GLOSSES, 5, seed=1) == category_questions(GLOSSES, 5, seed=1)
    assert category_questions(GLOSSES, 5, seed=1) != category_questions(GLOSSES, 5, seed=2)


def test_a_question_ends_where_the_letter_belongs():
    text = Question("What is it?", ("a", "b"), 1).prompt()
    assert text == "Question: What is it?\nA) a\nB) b\nAnswer:"


def test_three_classes_are_too_few():
    few = TextDataset(name="few", texts=("a", "b", "c"), labels=(0, 1, 2), class_names=("x", "y", "z"))
    with pytest.raises(InputError, match="'few' has too few classes"):
        category_questions(few, 1)


def write(folder, *rows):
    file = folder / "questions.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n\n")
    return file


def test_a_file_gives_answers_by_number_or_by_letter(tmp_path):
    rows = [{"question": "q", "choices": ["1", "2", "3", "4"], "answer": answer} for answer in (2, "c", " D")]
    found = read_questions(write(tmp_path, *rows), 10)
    assert [question.answer for question in found] == [2, 2, 3]
    assert len(read_questions(tmp_path / "questions.jsonl", 2)) == 2


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[]",
        {"question": "q", "choices": ["1", "2"]},
        {"question": "q", "choices": ["1"], "answer": 0},
        {"question": "q", "choices": "ab", "answer": 0},
        {"question": "q", "choices": ["1", "2"], "answer": 2},
        {"question": "q", "choices": ["1", "2"], "answer": True},
        {"question": "q", "choices": ["1", "2"], "answer": "E"},
        {"question": "q", "choices": list("12345"), "answer": 0},
    ],
)
def test_a_line_that_holds_no_question_is_named(tmp_path, row):
    good = {"question": "q", "choices": list(LETTERS), "answer": 0}
    with pytest.raises(InputError, match=r"Line 2 of .* holds no question"):
        read_questions(write(tmp_path, good, row), 10)


def test_an_empty_file_is_reported(tmp_path):
    with pytest.raises(InputError, match="holds no questions"):
        read_questions(write(tmp_path), 3)
