from dataclasses import replace

import pytest
from support.experiments import FakeEncoder, fake_config, measure
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ConfigurationError, InputError
from securealign.lab.experiments.corpora import no_bars
from securealign.lab.experiments.membership import measure as module
from securealign.lab.experiments.membership import observe
from securealign.lab.experiments.membership.measure import SweepPlan
from securealign.lab.experiments.membership.values import figures, summary
from securealign.lab.experiments.page import section
from securealign.lab.experiments.run import read_result, write_result

PLAN = SweepPlan(
    rows=(90, 20),
    shots=(8, 4),
    penalties=(0.01, 1.0),
    epsilons=(100.0, 10.0),
    maps=24,
    private_maps=12,
    folds=3,
)


def run(folder, plan=PLAN, add_bar=no_bars):
    config = fake_config(folder, FakeEncoder("a", 30), FakeEncoder("b", 24))
    return measure("membership", folder, config, plan, add_bar=add_bar, command="a command")


@pytest.fixture(scope="module", autouse=True)
def _few_resamples():
    """Intervals need not be exact here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "RESAMPLES", 10)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return where a run has left its cells."""
    path = tmp_path_factory.mktemp("membership")
    run(path)
    return path


@pytest.fixture
def result(folder):
    """Return the result of a small run, from its cells."""
    return run(folder)


@pytest.mark.thorough
def test_every_sweep_has_a_row_for_each_value_and_attack(result):
    rows = result.table("sweeps")
    values = {
        (row["sweep"], row["rows"], row["shots"], row["penalty"], row["epsilon"], row["unit"])
        for row in rows
        if row["source"] == "a"
    }
    assert values == {
        ("rows", 90, 8, 0.01, None, "text"),
        ("rows", 20, 8, 0.01, None, "text"),
        ("shots", 90, 8, 0.01, None, "text"),
        ("shots", 90, 4, 0.01, None, "text"),
        ("penalty", 90, 8, 0.01, None, "text"),
        ("penalty", 90, 8, 1.0, None, "text"),
        *(("epsilon by text", 90, 8, 0.01, epsilon, "text") for epsilon in (None, 100.0, 10.0)),
        *(("epsilon by row", 90, 8, 0.01, epsilon, "row") for epsilon in (None, 100.0, 10.0)),
    }
    assert len(rows) == 2 * 12 * 3
    for row in rows:
        assert row["accuracy low"] <= row["accuracy"] <= row["accuracy high"]
        assert row["maps"] == (12 if row["epsilon"] or row["unit"] == "row" else 24)
        assert (row["bound"] is not None) == (row["unit"] == "row" and row["epsilon"] is not None)


@pytest.mark.thorough
def test_controls_are_there(result):
    rows = result.table("controls")
    assert {(row["control"], row["attack"]) for row in rows} == {
        (control, attack) for control in ("interpolating", "shuffled") for attack in ("features", "residual", "span")
    }
    assert {row["rows"] for row in rows if row["control"] == "interpolating"} == {20}


@pytest.mark.thorough
def test_a_second_run_computes_nothing(folder, result, monkeypatch):
    monkeypatch.setattr(module, "attack_setting", None)
    assert run(folder).tables == result.tables


@pytest.mark.thorough
def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    plan = replace(PLAN, epsilons=(), penalties=(0.01,))
    real, done = module.attack_setting, []

    def failing(material, setting, *others):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(setting)
        return real(material, setting, *others)

    monkeypatch.setattr(module, "attack_setting", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, plan)
    again = []
    monkeypatch.setattr(module, "attack_setting", lambda *given: again.append(given[1]) or real(*given))
    first = run(tmp_path, plan)
    # Rows, shots, a row of Z_A without noise, and two controls, for both directions.
    assert len(again) == 2 * 6 - len(done)
    monkeypatch.setattr(module, "attack_setting", real)
    assert run(tmp_path / "afresh", plan).tables == first.tables


@pytest.mark.thorough
def test_progress_counts_shadow_maps(tmp_path):
    seen = []
    plan = replace(PLAN, epsilons=(), rows=(20,), penalties=(0.01,), shots=(4,))
    run(tmp_path, plan, lambda title: lambda done, total: seen.append((title, done, total)))
    ours = [(done, total) for title, done, total in seen if title == "b <- a: 20 rows, 4 shots"]
    assert ours[:25] == [(done, 24) for done in range(25)]


def test_too_few_candidates_are_refused(tmp_path):
    with pytest.raises(InputError, match="50 shots need 100 candidates"):
        run(tmp_path, replace(PLAN, shots=(50,)))


@pytest.mark.parametrize(
    "change", [{"rows": ()}, {"penalties": (0.0,)}, {"epsilons": (-1.0,)}, {"folds": 1}, {"maps": 11}]
)
def test_plans_that_make_no_sense_are_refused(change):
    with pytest.raises(ConfigurationError):
        replace(PLAN, **change)


@pytest.mark.thorough
def test_files_pictures_and_section_follow_from_the_result(tmp_path, result):
    for name, rows in result.tables.items():
        result.tables[name] = [row for row in rows if row["source"] == "a"]
    files = {file.name for file in write_result(result, tmp_path, figures)}
    assert files == {
        "membership.json",
        "membership-sweeps.csv",
        "membership-controls.csv",
        "membership-accuracy.svg",
        "membership-alarms.svg",
    }
    text = section(read_result(tmp_path / "membership.json"))
    assert text == section(result)
    assert text.startswith("## Membership inference on the map\n")
    assert "    a command\n" in text
    assert "| paper, appendix K | features | 0.530 ± 0.113 |" in text
    assert all(f"membership-{name}.svg" in text for name in ("accuracy", "alarms"))


@pytest.mark.parametrize(
    ("fit", "said"), [(0.5, "an R^2 above zero at epsilon = 10, 100."), (-0.5, "No map under noise has an R^2 above")]
)
@pytest.mark.thorough
def test_the_section_says_whether_maps_under_noise_are_of_use(result, fit, said):
    for row in result.table("sweeps"):
        row["R2"] = fit
    assert said in section(result)


@pytest.mark.thorough
def test_a_run_without_noise_says_nothing_about_it(tmp_path):
    plan = replace(PLAN, epsilons=(), rows=(20,), penalties=(0.01,), shots=(4,))
    assert "with noise, accuracies" not in section(run(tmp_path, plan))


@pytest.mark.thorough
def test_the_summary_has_a_line_for_each_setting_and_control(result):
    title, rows = summary(result)
    assert "0.530" in title
    assert len(rows) == 2 * (12 + 2)
    assert {"features", "residual", "span", "R2"} <= set(rows.columns)


def test_the_command_refuses_what_is_no_number():
    done = CliRunner().invoke(app, ["experiment", "membership", "--penalties=much"])
    assert "no list of numbers" in done.output
