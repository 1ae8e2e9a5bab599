"""Class names: one rule for the head that is saved and for the message that brings its names to the client."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import INFERENCE

from securealign.alignment.head import LinearHead
from securealign.errors import InputError, RemoteProtocolError
from securealign.naming import fault_of_name
from securealign.protocol.messages import InferenceAccept

ACCEPT = next(message for message in INFERENCE if isinstance(message, InferenceAccept))
ALLOWED = [
    "a b",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001f469\u200d\U0001f52c",
    "\u200fabc",
    "x" * 256,
]
REFUSED = ["", " ", "\u3000\u00a0", "x" * 257, "a\tb", "a\nb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\u2067b", "a\ud800b", "a\U0010ffffb"]


def head_with(name):
    return LinearHead(np.ones((3, 2)), np.zeros(2), ("other", name))


def message_with(name):
    return replace(ACCEPT, classes=2, class_names=("other", name))


@pytest.mark.parametrize("name", ALLOWED, ids=ascii)
def test_names_that_can_be_shown_are_saved_and_sent(tmp_path, name):
    head_with(name).save_pretrained(tmp_path)
    assert LinearHead.from_pretrained(tmp_path).class_names == ("other", name)
    assert message_with(name).class_names == ("other", name)


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_others_are_refused_by_both_parties(name):
    with pytest.raises(InputError, match=r"The class name of column 1 (is|has|holds) ") as caught:
        head_with(name)
    assert caught.value.hint
    with pytest.raises(RemoteProtocolError, match="a class name is a short text"):
        message_with(name)


@given(st.text(st.characters(), min_size=1, max_size=20))
def test_a_name_without_fault_fills_one_cell_of_one_line(name):
    if fault_of_name(name) is None:
        assert len(f"{name}\t0.5\n".splitlines()) == 1
        assert f"{name}\t0.5".split("\t") == [name, "0.5"]
        assert name.encode("utf-8").decode("utf-8") == name


@given(st.text(min_size=1, max_size=256).filter(lambda name: name.isprintable() and not name.isspace()))
def test_printable_names_that_show_something_have_no_fault(name):
    assert fault_of_name(name) is None
