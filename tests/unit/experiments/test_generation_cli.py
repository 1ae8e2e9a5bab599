"""securealign experiment generation and tokenizers: options, output and mistakes."""

import json

import pytest
from support.causal_lms import SENTENCES, byte_fallback_tokenizer, byte_level_tokenizer, save_llama
from support.optional import needs
from typer.testing import CliRunner

from securealign.commands import penalty
from securealign.errors import ConfigurationError, ExitCode
from securealign.lab.cli.experiment import app

pytestmark = [pytest.mark.models, needs("torch", "transformers", "matplotlib", extra="models")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    save_llama(tmp_path / "llama", byte_level_tokenizer())
    byte_fallback_tokenizer().save_pretrained(tmp_path / "marked")
    texts = [f"{one}, {other} {number}." for number in range(6) for one in SENTENCES for other in SENTENCES]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    question = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": "B"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def small(folder, *arguments):
    return run(
        "generation", "--models", folder / "llama", "--data", folder / "texts.jsonl", "--pairs", 200, "--test", 60,
        "--sweep", 50, "--samples", 0, "--question-data", folder / "questions.jsonl", *arguments,
    )  # fmt: skip


@pytest.mark.thorough
def test_one_model_is_measured_against_itself(folder):
    done = small(folder, "--depths", "post-norm,L/2", "--output", folder / "out", "--json")
    assert done.exit_code == ExitCode.OK, done.output
    tables = json.loads(done.stdout)["tables"]
    assert {row["depth"] for row in tables["scores"]} == {"post-norm", "L/2"}
    assert [row["questions"] for row in tables["questions"]] == [1, 1]
    assert tables["texts"] == tables["likeness"] == tables["streaming"] == []
    assert (folder / "out" / "generation-depths.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--depths", "bottom"), "'bottom' is no depth"),
        (("--ridge", "-1"), "--ridge is '-1'"),
        (("--ridge", "inf"), "--ridge is 'inf'"),
    ],
)
def test_mistakes_are_told_before_models_are_read(folder, arguments, message):
    done = small(folder, *arguments)
    assert done.exit_code == ExitCode.USAGE
    assert message in done.stderr


def test_penalties_are_numbers_or_automatic():
    assert (penalty("auto", "--ridge"), penalty("1e-4", "--ridge")) == ("auto", 1e-4)
    with pytest.raises(ConfigurationError):
        penalty("nan", "--ridge")


def test_tokenizers_are_compared_by_folder(folder):
    models = f"{folder / 'llama'},{folder / 'marked'}"
    arguments = ("tokenizers", "--models", models, "--data", folder / "texts.jsonl", "--texts", 10)
    done = run(*arguments, "--json")
    assert done.exit_code == ExitCode.OK, done.output
    content = json.loads(done.stdout)
    assert content["settings"]["tokenizers"] == ["llama", "marked"]
    assert len(content["tables"]["pairs"]) == 2
    assert run("tokenizers", "--models", folder / "llama").exit_code == ExitCode.USAGE
