"""securealign chat: a stitched pair of tiny random models answers a prompt, or line after line."""

import json

import pytest
import typer
from support.causal_lms import (
    SENTENCES,
    byte_fallback_tokenizer,
    byte_level_tokenizer,
    save_gemma,
    save_llama,
)
from support.optional import needs
from typer.testing import CliRunner

from securealign.alignment import AlignmentMap
from securealign.errors import ExitCode
from securealign.lab.cli.chat import chat

pytestmark = [pytest.mark.models, needs("torch", "transformers", extra="models")]

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(chat)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    save_llama(root / "llama", byte_level_tokenizer(chat=True))
    save_gemma(root / "gemma", byte_fallback_tokenizer())
    texts = [f"{one}, {other} {number}." for number in range(6) for one in SENTENCES for other in SENTENCES]
    (root / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(folders, *arguments, source="llama", target="gemma", stdin=None):
    command = ["--source", folders / source, "--target", folders / target, "--data", folders / "texts.jsonl"]
    options = ["--pairs", 200, "--max-new-tokens", 6, *arguments]
    return CliRunner().invoke(app, [str(part) for part in (*command, *options)], input=stdin)


def answers(done):
    assert done.exit_code == ExitCode.OK, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_pair_answers_and_its_map_is_kept(folders, cache, monkeypatch):
    (first,) = answers(run(folders, "--prompt", "hello", "--json"))
    assert set(first) == {"prompt", "text", "tokens", "end"}
    assert 0 <= first["tokens"] <= 6
    (folder,) = (cache / "maps").iterdir()
    assert AlignmentMap.from_pretrained(folder).metadata["depth"] == "post-norm"
    monkeypatch.setattr("securealign.lab.generation.fitting.fit_stitches", None)
    assert answers(run(folders, "--prompt", "hello", "--json")) == [first]
    # The kept folder can be named, too.
    assert answers(run(folders, "--prompt", "hello", "--json", "--map", folder)) == [first]


def test_text_streams_to_standard_output_as_it_is_in_json(folders):
    (answer,) = answers(run(folders, "--prompt", "hello", "--json"))
    done = run(folders, "--prompt", "hello")
    assert done.exit_code == ExitCode.OK
    assert done.stdout == f"{answer['text']}\n"


def test_lines_are_turns_of_one_conversation_until_the_input_ends(folders):
    found = answers(run(folders, "--json", stdin="the dog\n\n  the fox \n"))
    assert [answer["prompt"] for answer in found] == ["the dog", "the fox"]
    assert answers(run(folders, "--json", stdin="")) == []


def test_the_native_head_needs_no_map(folders, cache):
    (answer,) = answers(run(folders, "--prompt", "hello", "--json", "--native"))
    assert answer["tokens"] <= 6
    assert not (cache / "maps").exists()


def test_sampling_follows_its_seed(folders):
    options = ("--prompt", "hello", "--json", "--temperature", 2, "--top-p", 0.9, "--native")
    one, again, other = (answers(run(folders, *options, "--seed", seed))[0]["text"] for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--temperature", -1), ExitCode.USAGE, "temperature of -1"),
        (("--ridge", "much"), ExitCode.USAGE, "--ridge is 'much'"),
        (("--map", "nowhere"), ExitCode.INPUT, "nowhere is not a saved alignment"),
    ],
)
def test_mistakes_are_told_before_models_are_read(folders, arguments, code, message):
    done = run(folders, "--prompt", "hello", *arguments)
    assert (done.exit_code, message in done.stderr) == (code, True), done.output


def test_a_map_of_another_pair_is_refused(folders, cache):
    run(folders, "--prompt", "hello")
    (folder,) = (cache / "maps").iterdir()
    done = run(folders, "--prompt", "hello", "--map", folder, source="gemma", target="llama")
    assert done.exit_code == ExitCode.REFUSED
    assert "does not lead from" in done.stderr


def test_without_a_head_the_command_says_how_to_name_one(folders, cache):
    done = CliRunner().invoke(app, ["--source", str(folders / "llama"), "--prompt", "hello", "--json"])
    assert done.exit_code == 2
    assert "--target" in json.loads(done.stdout)["hint"]


def test_a_model_by_itself_needs_no_target(folders, cache):
    options = ["--prompt", "hello", "--json", "--native", "--max-new-tokens", "3"]
    (answer,) = answers(CliRunner().invoke(app, ["--source", str(folders / "llama"), *options]))
    assert answer["tokens"] <= 3
