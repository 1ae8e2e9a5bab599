"""The experiment on texts out of distribution: what it finds, says, draws and keeps."""

import numpy as np
import pytest
from support.experiments import CLASSES, PUBLIC, TASK, FakeEncoder, fake_config, load, measure, one_that_sees_nothing

from securealign.data import TextDataset
from securealign.errors import ConfigurationError
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.ood.measure import judge
from securealign.lab.experiments.ood.values import layout, summary
from securealign.lab.experiments.page import section

PLAIN, LONG, TWO = (f"{name}/train:{name}/test" for name in ("plain", "long", "pair"))
FORMS = {"plain": "about {} {} only", "long": "about {} {} with many more words than any other text"}
#: Encoders that share nothing, and few texts, are what these tests are about.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:The public embeddings may not belong together"),
]


def load_all(name):
    """Return texts of colours, of no colour, and long ones of no colour; of two colours alone, too."""
    base, _, part = name.partition("/")
    if base == "pair":
        rows = [row for row in range(len(load(name))) if row % 4 < 2]
        chosen = load(name).subset(rows)
        return TextDataset(name=name, texts=chosen.texts, labels=chosen.labels, class_names=CLASSES)
    if base not in FORMS:
        return load(name)
    texts = tuple(FORMS[base].format(part, row) for row in range(96))
    return TextDataset(name=name, texts=texts, labels=tuple(row % 2 for row in range(96)), class_names=("x", "y"))


CORPORA = Corpora(train=80, test=40, public=100, public_sets=PUBLIC, load=load_all)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ood")
    config = fake_config(folder, *one_that_sees_nothing(), tasks=(TASK, TWO), corpora=CORPORA)
    return measure("ood", folder, config, [TASK, PLAIN, LONG], command="the command")


def line(result, source, target, ood=PLAIN, score="energy"):
    found = layout(result, score).filter(data=TASK, ood=ood, source=source, target=target)
    return found.row(0, named=True)


def cases(result):
    return layout(result).select("data", "ood").unique(maintain_order=True).rows()


def test_mapped_embeddings_tell_what_native_ones_tell(result):
    found = line(result, "a", "b")
    assert found["auroc_own"] > 0.8
    assert found["auroc_task"] > found["auroc_own"] - 0.1
    assert found["auroc_public"] > 0.6
    assert found["fpr95_own"] < 0.8
    assert found["accuracy_own"] > 0.9


def test_an_encoder_that_sees_nothing_tells_nothing(result):
    found = line(result, "odd", "b")
    assert found["auroc_task"] < 0.7
    assert found["auroc_public"] < 0.7
    assert found["accuracy_public"] < 0.5


def test_length_alone_is_the_control(result):
    assert line(result, "a", "b", LONG)["length"] == 1.0
    assert line(result, "a", "b")["length"] == 0.5


def test_a_task_is_not_out_of_its_own_distribution(result):
    assert cases(result) == [(TASK, PLAIN), (TASK, LONG), (TWO, TASK), (TWO, PLAIN), (TWO, LONG)]


def test_texts_that_a_task_shares_are_left_out(tmp_path):
    again = "colours/test:colours/test"
    with pytest.raises(ConfigurationError, match="Nothing is out of the distribution") as caught:
        measure("ood", tmp_path, fake_config(tmp_path, FakeEncoder("a"), FakeEncoder("b")), [TASK, again])
    assert "--ood" in caught.value.hint


def test_a_judgement_by_hand():
    sure, unsure = np.array([[5.0, 0.0], [0.0, 5.0]]), np.array([[0.1, 0.0]])
    rows = judge(sure, {"other": unsure}, np.array([0, 0]))
    assert [(row["score"], row["auroc"], row["fpr95"]) for row in rows] == [("energy", 1.0, 0.0), ("softmax", 1.0, 0.0)]
    assert {row["accuracy"] for row in rows} == {0.5}


def test_with_two_classes_both_scores_are_one(result):
    rows = [row for row in result.table("mapped") if row["data"] == TWO]
    energy, softmax = ([row["auroc"] for row in rows if row["score"] == score] for score in ("energy", "softmax"))
    assert energy == pytest.approx(softmax)


def test_the_section_says_what_the_tables_say(result):
    text, lines = section(result), layout(result)
    assert text.startswith("## ")
    assert "the command" in text
    assert f"changes by {(lines['auroc_public'] - lines['auroc_own']).mean():+.3f} on average" in text
    assert f"With two classes ({TWO})" in text
    assert f"{TASK} / {LONG}" in text.split("Length alone does as well")[1].splitlines()[0]
    assert text.count("| b <- a |") == 1 + len(cases(result))
    title, rows = summary(result)
    assert "AUROC" in title
    assert rows["length alone"][0] == 0.5


def test_no_case_of_length_and_no_task_of_two_classes_are_not_mentioned(tmp_path):
    config = fake_config(tmp_path, FakeEncoder("a"), FakeEncoder("b"), corpora=CORPORA)
    text = section(measure("ood", tmp_path, config, [PLAIN]))
    assert "in 0 of 1 cases." in text
    assert "two classes" not in text
