"""A handle gives derived secrets and a name, and the root for a token only."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.keys.handles import ExportToken, KeyHandle, Purpose, issue, key_name

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
ROOT = bytes(range(32))
TOKEN = ExportToken.i_understand_that_this_reveals_the_key()


def handle(root=ROOT, purpose=Purpose.TRAINING):
    return issue(root, purpose, created=NOW, expires=None)


def hkdf(secret, info):
    """RFC 5869 for one block and no salt, from the standard library alone."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


@pytest.mark.parametrize("purpose", Purpose)
def test_secrets_derive_by_hkdf_under_the_label_of_the_purpose(purpose):
    label = b"securealign/key/derive/" + purpose.value.encode() + b"/session 7"
    assert handle(purpose=purpose).derive(b"session 7") == hkdf(ROOT, label)


def test_the_name_is_the_hash_of_the_public_part():
    public = hkdf(ROOT, b"securealign/key/public")
    assert handle().name == key_name(ROOT) == hashlib.sha256(b"securealign/key/name" + public).hexdigest()


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_derived_secrets_are_equal_for_equal_contexts_only(one, other):
    assert (handle().derive(one) == handle().derive(other)) == (one == other)
    assert handle().derive(one) not in {ROOT, hkdf(ROOT, b"securealign/key/public")}
    assert handle().derive(one) != handle(purpose=Purpose.STORAGE).derive(one)


def test_a_handle_tells_what_it_is_for():
    key = issue(ROOT, Purpose.INFERENCE, created=NOW, expires=NOW.replace(year=2031))
    assert (key.purpose, key.created, key.expires) == (Purpose.INFERENCE, NOW, NOW.replace(year=2031))
    assert repr(key) == str(key) == f"<KeyHandle {key.name[:16]} for inference>"


def test_handles_of_the_same_key_are_equal():
    assert handle() == handle()
    assert len({handle(), handle()}) == 1
    assert handle() != handle(bytes(32))
    assert handle() != handle().name


@pytest.mark.parametrize("name", ["name", "purpose", "created", "expires", "other"])
def test_a_handle_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(handle(), name, "x")


def test_the_root_is_revealed_for_a_token():
    assert handle().reveal(TOKEN) == ROOT


@pytest.mark.parametrize("token", [None, True, "i_understand_that_this_reveals_the_key", ExportToken, object()])
def test_the_root_is_revealed_for_nothing_else(token):
    with pytest.raises(TypeError, match="ExportToken only"):
        handle().reveal(token)


@pytest.mark.parametrize("kind", [KeyHandle, ExportToken])
@pytest.mark.parametrize("arguments", [(), (ROOT,), (ROOT, Purpose.TRAINING)])
def test_neither_is_made_by_calling_it(kind, arguments):
    with pytest.raises(TypeError, match="not made by calling it"):
        kind(*arguments)


DUPLICATES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "in a list": lambda value: copy.deepcopy([value]),
    "getstate": lambda value: value.__getstate__(),
    **{f"pickle {n}": lambda value, n=n: pickle.dumps(value, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@pytest.mark.parametrize("value", [handle(), TOKEN], ids=["handle", "token"])
def test_neither_is_pickled_or_copied(value, duplicate):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(value)
