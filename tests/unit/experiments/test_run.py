"""What all experiments share: killed runs go on, unrelated pairs are recorded, commands print and write alike."""

import json

import pytest
from support.experiments import TASK, FakeEncoder, fake_config, fake_corpora, let_commands_use_fakes
from support.tiers import first_quick
from typer.testing import CliRunner

from securealign.alignment import clear
from securealign.cli import app
from securealign.errors import ErrorCode, ExitCode, InputError
from securealign.lab.experiments.corpora import no_bars
from securealign.lab.experiments.membership import observe
from securealign.lab.experiments.page import figures, section, summary
from securealign.lab.experiments.run import Cell, Run, Store, run_experiment

OTHER = "shades/train:shades/test"
#: What each experiment takes beside its config and store.
OPTIONS = {
    "similarity": ((), {"components": (4,)}),
    "classification": ((), {}),
    "ood": (([OTHER],), {}),
    "leakage": ((), {"sizes": (12, 80)}),
}
OF_MAPS = tuple(OPTIONS)[1:]
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")


def measured(folder, experiment, *encoders, store=None):
    config = fake_config(folder, *encoders, shots=(8,), seeds=2)
    more, options = OPTIONS[experiment]
    return run_experiment(experiment, config, store or Store(folder / "cells"), *more, **options)


@pytest.fixture(autouse=True)
def _refuse_a_dimension_of_20(monkeypatch):
    """Refuse to fit maps from an encoder of 20 dimensions, as if its rows belonged to other texts."""
    real = clear.require_related

    def require_related(regression, penalty):
        if len(regression.values) == 20:
            raise InputError("They do not belong together.", hint="Check them.", code=ErrorCode.PAIRS_UNRELATED)
        return real(regression, penalty)

    monkeypatch.setattr(clear, "require_related", require_related)


@pytest.mark.thorough
@pytest.mark.parametrize("experiment", first_quick(OF_MAPS))
def test_an_unrelated_pair_is_recorded_and_the_others_are_measured(tmp_path, experiment):
    result = measured(tmp_path, experiment, FakeEncoder("a"), FakeEncoder("b", dimension=20))
    assert {(row["source"], row["target"]) for row in result.table("unrelated")} == {("b", "a")}
    assert {row["unrelated"] for row in result.table("unrelated")} == {"They do not belong together."}
    assert {(row["source"], row["target"]) for row in result.table("mapped")} == {("a", "b")}
    assert "do not belong together (target <- source): a <- b." in section(result)
    assert figures(result)
    assert "They do not belong together." not in summary(result)[1].columns


@pytest.mark.thorough
@pytest.mark.parametrize("experiment", first_quick(OF_MAPS))
def test_with_unrelated_pairs_alone_the_section_says_so_and_nothing_else(tmp_path, experiment):
    encoders = FakeEncoder("a", dimension=20), FakeEncoder("b", dimension=20)
    result = measured(tmp_path, experiment, *encoders)
    assert "(target <- source): b <- a, a <- b." in section(result)
    assert figures(result) == {}
    assert len(summary(result)[1]) == len(result.table("unrelated"))


def test_what_is_unrelated_is_kept_and_other_errors_are_raised(tmp_path):
    calls = []

    def refused(code):
        calls.append(code)
        raise InputError("no", hint="none", code=code)

    for _ in range(2):
        run = Run("trial", Store(tmp_path), no_bars)
        run.add(Cell(table="t", names={"a": 1}, key={}, compute=lambda: refused(ErrorCode.PAIRS_UNRELATED)))
        assert run.tables == {"t": [], "unrelated": [{"a": 1, "table": "t", "unrelated": "no"}]}
    assert len(calls) == 1
    with pytest.raises(InputError):
        run.add(Cell(table="t", names={}, key={"b": 1}, compute=lambda: refused(ErrorCode.FILE_INVALID)))


@pytest.mark.parametrize("experiment", first_quick(OPTIONS))
def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch, experiment):
    encoders = FakeEncoder("a"), FakeEncoder("b"), FakeEncoder("c")
    store, kept = Store(tmp_path / "cells"), []
    rows = store.rows

    def killed_after_two(*cell):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(cell[0])
        return rows(*cell)

    monkeypatch.setattr(store, "rows", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, experiment, *encoders, store=store)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").rglob("*.json")}
    again = FakeEncoder("a"), FakeEncoder("b"), FakeEncoder("c")
    result = measured(tmp_path, experiment, *again)
    assert len(before) == 2
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert sum(encoder.encoded for encoder in again) == 0
    assert measured(tmp_path, experiment, *again) == result


#: Options of each command that make it small, what its settings become, words of its table, its tables and figures.
COMMANDS = {
    "similarity": ("--components 8,4,8", {"components": [4, 8]}, "without bias", "pairs", "public"),
    "classification": (
        "--shots 8 --seeds 2 --suite plaintext --encrypted a:b",
        {"shots": [8]},
        "Accuracy, mean over",
        "own pairs mapped encrypted",
        "losses shots explained",
    ),
    "ood": (f"--ood {OTHER}", {"map": "soft"}, "length alone", "own mapped length", "auroc"),
    "leakage": (
        "--rows 12,30 --seeds 1",
        {"sizes": [12, 30]},
        "found first",
        "alignment penalty native mapped",
        "alignment inversion",
    ),
    "membership": (
        "--rows=40 --shots=4 --penalties=0.1 --epsilons= --maps=8 --private-maps=8 --folds=2",
        {"shots": [4]},
        "control: interpolating",
        "sweeps controls",
        "accuracy alarms",
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the command of an experiment, small, with fake encoders and texts."""
    let_commands_use_fakes(monkeypatch, tmp_path, fake_corpora())
    monkeypatch.setattr(observe, "RESAMPLES", 10)

    def command(name, *others):
        given = ["experiment", name, "--data", TASK, *COMMANDS[name][0].split(), *map(str, others)]
        return CliRunner().invoke(app, given, env={"COLUMNS": "200", "TERM": "dumb"})

    return command


@pytest.mark.parametrize("name", first_quick(COMMANDS))
def test_the_command_writes_files_and_prints_a_table_or_json_and_nothing_else(run, tmp_path, name):
    _, settings, words, tables, pictures = COMMANDS[name]
    done = run(name, "--encoders", "a,b", "--output", tmp_path / "out")
    assert done.exit_code == ExitCode.OK, done.output
    assert words in done.stdout
    files = {f"{name}.json", *(f"{name}-{table}.csv" for table in tables.split())}
    files |= {f"{name}-{picture}.svg" for picture in pictures.split()}
    assert {file.name for file in (tmp_path / "out").iterdir()} == files
    done = run(name, "--encoders", "a,b", "--json")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert found["settings"].items() >= settings.items()
    assert found["tables"] == json.loads((tmp_path / "out" / f"{name}.json").read_text())["tables"]


@pytest.mark.parametrize(
    ("name", "mistake", "told"),
    [
        *((name, "--encoders=a", "two") for name in COMMANDS),
        ("ood", f"--ood={TASK}", "--ood"),
        ("leakage", "--rows=3", "numbers from 8 on"),
    ],
)
def test_a_mistake_in_the_options_is_an_error_with_a_hint(run, name, mistake, told):
    done = run(name, "--encoders=a,b", mistake, "--json")
    assert done.exit_code == ExitCode.USAGE
    assert json.loads(done.stdout)["error"] == "CONFIGURATION_INVALID"
    assert told in json.loads(done.stdout)["hint"]
