import pytest
from support.experiments import fake_corpora, load

from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.experiments.corpora import TASKS, Corpora, labels_of

COLOURS = "colours/train:colours/test"


def test_a_task_has_both_parts_cut_to_size_with_one_numbering_of_classes():
    task = fake_corpora(train=30, test=20).task(COLOURS)
    assert (len(task.train), len(task.test)) == (30, 20)
    assert task.train.class_names == task.test.class_names == ("blue", "green", "grey", "red")
    for part in (task.train, task.test):
        assert all(
            text.startswith(part.class_names[label]) for text, label in zip(part.texts, part.labels, strict=True)
        )


def test_sets_that_share_texts_share_what_is_drawn():
    whole = TextDataset(name="whole", texts=tuple(map(str, range(200))))
    half = TextDataset(name="half", texts=tuple(map(str, range(0, 200, 2))))
    corpora = Corpora()
    drawn = set(corpora.draw(whole, 100).texts)
    assert {text for text in drawn if int(text) % 2 == 0} <= set(corpora.draw(half, 100).texts)
    assert list(corpora.draw(half, 10).texts) == [t for t in corpora.draw(whole, 200).texts if int(t) % 2 == 0][:10]


def test_texts_are_drawn_as_in_the_results_of_the_documentation():
    whole = TextDataset(name="whole", texts=tuple(map(str, range(200))))
    assert Corpora().draw(whole, 5).texts == ("199", "19", "32", "180", "111")


def test_another_seed_draws_other_texts():
    first, second = (Corpora(seed=seed).draw(load("one"), 20).texts for seed in (0, 1))
    assert set(first) != set(second)


def test_public_texts_take_turns():
    texts = fake_corpora(public=21).public_texts
    assert len(texts) == 21
    assert [text.split()[0] for text in texts[:4]] == ["one", "two", "one", "two"]
    assert fake_corpora(public=21).public_digest != fake_corpora(public=20).public_digest


def test_test_texts_of_classes_never_trained_on_are_left_out():
    parts = {
        "a": TextDataset(name="a", texts=("x", "y"), labels=(0, 1), class_names=("p", "q")),
        "b": TextDataset(name="b", texts=("u", "v"), labels=(0, 1), class_names=("q", "r")),
    }
    task = Corpora(load=parts.__getitem__).task("a:b")
    assert task.test.texts == ("u",)
    assert labels_of(task.test) == (task.train.class_names.index("q"),)


def test_parts_without_a_common_class_are_refused():
    parts = {
        "a": TextDataset(name="a", texts=("x",), labels=(0,), class_names=("p",)),
        "b": TextDataset(name="b", texts=("u",), labels=(0,), class_names=("q",)),
    }
    with pytest.raises(InputError, match="share no class"):
        Corpora(load=parts.__getitem__).task("a:b")


def test_a_name_that_is_no_task_is_refused_with_those_that_are():
    with pytest.raises(InputError, match="no task") as caught:
        Corpora().task("unknown")
    assert all(name in caught.value.hint for name in TASKS)


def test_texts_without_labels_are_no_task():
    with pytest.raises(InputError, match="no labels"):
        Corpora(load=load).task("one:two")


def test_the_digest_of_a_task_covers_texts_and_labels():
    task, other = (fake_corpora(train=size).task(COLOURS) for size in (30, 31))
    assert task.digest == fake_corpora(train=30).task(COLOURS).digest != other.digest
