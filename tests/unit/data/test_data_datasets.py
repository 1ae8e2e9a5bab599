"""TextDataset holds only texts and labels that fit together."""

import pytest

from securealign.data import TextDataset
from securealign.errors import ConfigurationError, InputError

THREE = TextDataset(name="t", texts=("a", "b", "c"), labels=(0, 1, 1), class_names=("x", "y"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"texts": ()}, "holds no texts"),
        ({"texts": ("a", 3)}, "Row 1 of 't' is int, not text"),
        ({"texts": ("a", "\ud800")}, "Row 1 of 't' holds a lone surrogate"),
        ({"texts": ("a",), "class_names": ("x",)}, "class names but no labels"),
        ({"texts": ("a",), "labels": (0, 0), "class_names": ("x",)}, "1 texts and 2 labels"),
        ({"texts": ("a",), "labels": (0,), "class_names": ("x", "x")}, "names a class twice"),
        ({"texts": ("a",), "labels": (1,), "class_names": ("x",)}, "Row 0 of 't' has a label that is no index"),
        ({"texts": ("a",), "labels": (-1,), "class_names": ("x",)}, "Row 0 of 't' has a label that is no index"),
        ({"texts": ("a",), "labels": (False,), "class_names": ("x",)}, "Row 0 of 't' has a label that is no index"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_a_hint(parts, message):
    with pytest.raises(InputError, match=message) as caught:
        TextDataset(name="t", **parts)
    assert caught.value.hint


def test_a_subset_keeps_labels_order_and_all_class_names():
    picked = THREE.subset([2, 0])
    assert (picked.texts, picked.labels, picked.class_names) == (("c", "a"), (1, 0), ("x", "y"))
    assert len(picked) == 2


@pytest.mark.parametrize("row", [-1, 3])
def test_a_subset_outside_the_rows_is_refused(row):
    with pytest.raises(InputError, match=f"Row {row} is outside 't', which has 3 rows"):
        THREE.subset([row])


def test_shuffling_keeps_every_pair_and_depends_on_the_seed_alone():
    many = TextDataset(
        name="m", texts=tuple(map(str, range(50))), labels=(0,) * 25 + (1,) * 25, class_names=("low", "high")
    )
    one = many.shuffled(1)
    assert one == many.shuffled(1)
    assert one != many.shuffled(2)
    assert sorted(zip(one.texts, one.labels, strict=True)) == sorted(zip(many.texts, many.labels, strict=True))


def test_the_order_of_a_shuffle_is_the_same_in_every_release():
    digits = TextDataset(name="d", texts=tuple("0123456789"))
    assert "".join(digits.shuffled(7).texts) == "2435961870"


def test_take_stops_at_the_end():
    assert THREE.take(2).texts == ("a", "b")
    assert THREE.take(9) == THREE
    with pytest.raises(ConfigurationError, match="Cannot take 0 texts"):
        THREE.take(0)


def test_a_repr_shows_no_text():
    secret = TextDataset(name="t", texts=("password",))
    assert "password" not in repr(secret)
    assert repr(secret) == "TextDataset(name='t', texts=1, classes=0)"
