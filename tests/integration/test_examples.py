"""The examples, the notebooks and the blocks of docs/library.md, run as a reader runs them."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.streams import StreamSite, write_jsonl

import securealign

ROOT = Path(securealign.__file__).parents[1]
EXAMPLES = ROOT / "examples"
if not EXAMPLES.exists():
    pytest.skip("only the repository has the examples", allow_module_level=True)
PROGRAMS = sorted(EXAMPLES.glob("[0-9]*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: What an example says whatever its numbers are.
SAYS = {
    "01_first_alignment": "1000 public texts, suite lwe-128, map soft",
    "02_remote_classification": "texts have the right topic",
    "03_streaming_a_file": "200 results",
    "04_async_web_service": "20 requests were answered",
    "05_scikit_learn_pipeline": "accuracy in three parts",
    "06_your_own_embeddings": "aligned embeddings of 60 dimensions on 1000 texts",
    "07_labels_alone": "The provider answers with labels alone",
    "08_embedding_endpoint": "aligned on 1000 public texts, embedded at 127.0.0.1",
    "09_reading_a_run": "confirmed by both",
    "10_choosing_a_model": "letters: try, with care.",
}
NEEDS = {"04_async_web_service": ("fastapi", "uvicorn"), "08_embedding_endpoint": ("openai",)}


def cells(notebook, kind):
    """Return the cells of a kind."""
    document = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in document["cells"] if cell["cell_type"] == kind]


def program_of(notebook):
    """Return the code of a notebook as one program."""
    return "\n".join("".join(cell["source"]) for cell in cells(notebook, "code"))


def blocks(document):
    """Return the blocks of Python in a document."""
    return re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_examples_are_short_documented_and_listed_with_their_output():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {program.stem for program in PROGRAMS} == set(SAYS)
    for program in PROGRAMS:
        source = program.read_text(encoding="utf-8")
        assert len(source.splitlines()) < 60, program.name
        assert ast.get_docstring(ast.parse(source)), program.name
        assert f"]({program.name})" in listed
        assert SAYS[program.stem] in listed, program.name
    for notebook in NOTEBOOKS:
        assert f"]({notebook.name})" in listed


def test_notebooks_store_no_outputs():
    assert len(NOTEBOOKS) == 2
    for notebook in NOTEBOOKS:
        assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(notebook, "code"))
        ast.parse(program_of(notebook))


@pytest.mark.parametrize("name", ["02_remote_classification", "03_streaming_a_file"])
def test_examples_that_classify_say_the_same_of_a_provider_in_this_process(name, tmp_path, monkeypatch, capsys):
    site = StreamSite(tmp_path)
    texts = write_jsonl(tmp_path / "private.jsonl", 200)
    here = SimpleNamespace(folder=tmp_path, config=None, news=lambda count: (texts[:count], site.labels(texts[:count])))

    @contextmanager
    def start():
        yield here

    monkeypatch.setitem(sys.modules, "trial", SimpleNamespace(start=start))
    monkeypatch.setattr(securealign, "connect", lambda *_: site.connect())
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert SAYS[name] in capsys.readouterr().out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that runs a program with what it is given and returns what it prints; they share one trial."""
    kept = {"SECUREALIGN_EXAMPLES": str(tmp_path_factory.mktemp("examples"))}
    path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **kept, "PYTHONPATH": path}

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)

    prepared = run("-c", "import trial\nwith trial.start():\n    pass")
    if "AssetError" in prepared.stderr:
        pytest.skip("the built-in texts and models are not in the cache and cannot be fetched")
    assert prepared.returncode == 0, prepared.stderr
    return run


@pytest.mark.thorough
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_an_example_runs(program, run):
    for package in NEEDS.get(program.stem, ()):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert SAYS[program.stem] in done.stdout


@pytest.mark.thorough
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(notebook, run):
    done = run("-c", program_of(notebook))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_every_block_of_the_library_guide_runs(run):
    found = blocks(ROOT / "docs" / "library.md")
    assert len(found) >= 8
    program = "import os, trial\nwith trial.start() as here:\n    os.chdir(here.folder)\n    names = {}\n"
    for block in found:
        program += f"    exec({block!r}, names)\n"
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
