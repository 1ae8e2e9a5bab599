import re

import numpy as np
import pytest
from support.experiments import TASK, FakeEncoder, fake_config, measure, one_that_sees_nothing

from securealign.alignment.clear import fit_map
from securealign.lab.experiments.classification.values import figures, losses, own_accuracies, reason, summary
from securealign.lab.experiments.page import section
from securealign.lab.experiments.setting import fit_with_shots

#: Encoders that share nothing, and few texts, are what these tests are about.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:The public embeddings may not belong together"),
]


def classified(folder, *encoders, encrypted_pair=None, command="", **options):
    config = fake_config(folder, *encoders, shots=(8, 16), seeds=2, rank=8, **options)
    return measure("classification", folder, config, encrypted_pair=encrypted_pair, suite="plaintext", command=command)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classification")
    return classified(
        folder, *one_that_sees_nothing(), rivals=("a", "b"), encrypted_pair=("a", "b"), command="the command"
    )


def mapped(result, source, target, fit="soft", fitted_on="task"):
    return losses(result, fit=fit).filter(fitted_on=fitted_on, source=source, target=target)["mapped"].item()


def own(result, encoder):
    return own_accuracies(result).filter(encoder=encoder, data=TASK)["accuracy"].item()


def test_heads_work_on_mapped_embeddings_of_an_encoder_that_sees_the_same(result):
    assert own(result, "b") > 0.9
    assert mapped(result, "a", "b") > own(result, "b") - 0.06
    assert mapped(result, "a", "b", fitted_on="public") > 0.7


def test_nothing_is_gained_from_an_encoder_that_sees_nothing(result):
    assert mapped(result, "odd", "b") < 0.5
    assert mapped(result, "odd", "b", fitted_on="public") < 0.5


def test_moving_the_mean_alone_aligns_nothing(result):
    assert mapped(result, "a", "b", fit="mean only") < mapped(result, "a", "b") - 0.2
    lost = {
        fit: losses(result, fit=fit).filter(fitted_on="task", source="a")["lost"][0] for fit in ("mean only", "ridge")
    }
    assert lost["mean only"] > lost["ridge"] + 0.2


def test_shared_texts_of_a_task_weigh_more_than_public_ones():
    random = np.random.default_rng(0)
    public, shots = random.normal(size=(400, 6)), random.normal(size=(20, 6))
    first, second = random.normal(size=(2, 6, 6))
    fitted = fit_with_shots((public, public @ first), (shots, shots @ second), "ridge")
    plain = fit_map(np.vstack([public, shots]), np.vstack([public @ first, shots @ second]), "auto")
    missed = [np.sum((shots @ second - found.apply(shots)) ** 2) for found in (fitted, plain)]
    assert missed[0] < missed[1]


def test_both_kinds_of_map_stand_side_by_side(result):
    text = section(result)
    for kind in ("ridge", "soft"):
        for fitted_on in ("the task's texts", "public texts"):
            assert f"| {kind} | {fitted_on} |" in text
    assert {row["fit"] for row in result.table("mapped") if row["fitted_on"] == "public+8"} == {"soft"}


def test_encryption_changes_no_accuracy(result):
    rows = result.table("encrypted")
    assert {row["fitted_on"] for row in rows} == {"task", "public"}
    assert all(abs(row["clear"] - row["encrypted"]) <= 0.002 and row["equal_labels"] > 0.99 for row in rows)
    assert rows[0]["clear"] == pytest.approx(mapped(result, "a", "b"), abs=0.1)


def test_pairs_that_lose_much_are_explained(result):
    lost = {(row["source"], row["target"]): row for row in result.table("exceptions")}
    assert ("odd", "a") in lost
    assert ("a", "b") not in lost
    assert reason(lost["odd", "a"]) == "the client's encoder knows less of the task"
    assert all(row["provider_own"] - row["mapped"] > 0.06 for row in lost.values())
    assert len(losses(result, fit="soft").filter(fitted_on="task")) == 6


@pytest.mark.parametrize(
    ("client_own", "refitted", "mapped", "words"),
    [(0.5, 0.5, 0.5, "knows less"), (0.9, 0.5, 0.5, "loses"), (0.9, 0.9, 0.5, "moves")],
)
def test_reasons(client_own, refitted, mapped, words):
    row = {"provider_own": 0.9, "client_own": client_own, "refitted": refitted, "mapped": mapped}
    assert words in reason(row)


def test_the_section_says_what_the_tables_say(result):
    text = section(result)
    assert "the command" in text
    alone, through = own(result, "b"), mapped(result, "a", "b")
    row = next(line for line in text.splitlines() if line.startswith("| b <- a |"))
    assert re.search(rf"{alone * 100:.1f} → {through * 100:.1f} ±", row)
    assert "under encryption" in text
    assert "alone 8" in text
    assert set(figures(result)) == {"losses", "shots", "explained"}
    title, rows = summary(result)
    assert TASK in title
    assert len(rows) == 6


def test_without_rivals_and_encryption_the_section_leaves_them_out(tmp_path):
    text = section(classified(tmp_path, FakeEncoder("a"), FakeEncoder("glove", dimension=20)))
    assert "encryption" not in text
    assert "Other kinds" not in text
    assert "two encoders" in text


def test_one_rival_among_the_encoders_is_no_pair_to_compare_maps_by(tmp_path):
    found = classified(tmp_path, FakeEncoder("a"), FakeEncoder("b"), rivals=("a", "elsewhere"))
    assert found.settings["rivals"] == []
    assert "Other kinds" not in section(found)


def test_static_encoders_are_told_apart(tmp_path):
    found = classified(tmp_path, FakeEncoder("a"), FakeEncoder("b"), FakeEncoder("wordllama", unrelated=True))
    assert any(row["refitted"] is None for row in found.table("exceptions"))
    assert "two transformers" in section(found)


def test_too_few_rows_for_a_training_under_encryption_leave_it_out(tmp_path):
    encoders = FakeEncoder("a", dimension=90), FakeEncoder("b")
    found = classified(tmp_path, *encoders, encrypted_pair=("a", "b"))
    assert {row["fitted_on"] for row in found.table("encrypted")} == {"public"}
