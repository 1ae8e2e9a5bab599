"""What all experiments share when they are run: pairs of encoders that are unrelated are recorded and left out."""

import pytest
from support.experiments import FakeEncoder, FakeModels, fake_corpora

from securealign.alignment import clear
from securealign.errors import ErrorCode, InputError
from securealign.lab.experiments.embeddings import Embeddings, no_bars
from securealign.lab.experiments.page import figures, section, summary
from securealign.lab.experiments.run import Cell, Run, run_experiment
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.store import Store

TASK, OTHER = "colours/train:colours/test", "shades/train:shades/test"
OPTIONS = {"classification": (), "ood": ([OTHER],), "leakage": ()}
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")


def measured(folder, experiment, *encoders):
    models = FakeModels(*encoders)
    embeddings = Embeddings(folder=folder / "vectors", opener=models.open)
    config = PairsConfig(tuple(models.encoders), (TASK,), fake_corpora(), embeddings, shots=(8,), seeds=2)
    options = {"sizes": (12, 80)} if experiment == "leakage" else {}
    return run_experiment(experiment, config, Store(folder / "cells"), *OPTIONS[experiment], **options)


@pytest.fixture(autouse=True)
def _refuse_a_dimension_of_20(monkeypatch):
    """Refuse to fit maps from an encoder of 20 dimensions, as if its rows belonged to other texts."""
    real = clear.require_related

    def require_related(regression, penalty):
        if len(regression.values) == 20:
            raise InputError("They do not belong together.", hint="Check them.", code=ErrorCode.PAIRS_UNRELATED)
        return real(regression, penalty)

    monkeypatch.setattr(clear, "require_related", require_related)


@pytest.mark.parametrize("experiment", OPTIONS)
def test_an_unrelated_pair_is_recorded_and_the_others_are_measured(tmp_path, experiment):
    result = measured(tmp_path, experiment, FakeEncoder("a"), FakeEncoder("b", dimension=20))
    assert {(row["source"], row["target"]) for row in result.table("unrelated")} == {("b", "a")}
    assert {row["unrelated"] for row in result.table("unrelated")} == {"They do not belong together."}
    assert {(row["source"], row["target"]) for row in result.table("mapped")} == {("a", "b")}
    assert "do not belong together (target <- source): a <- b." in section(result)
    assert figures(result)
    assert "They do not belong together." not in summary(result)[1].columns


@pytest.mark.parametrize("experiment", OPTIONS)
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
