"""The provider's private coordinates on disk: found again bit for bit, for their owner alone, or refused by name."""

from __future__ import annotations

import dataclasses
import os
import stat

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.peers import FixedRoot, open_cheaply

from securealign.alignment.coordinates import Space
from securealign.errors import ConfigurationError, ErrorCode, ExitCode, KeyStoreError
from securealign.keys.handles import Purpose
from securealign.matrices import Rows
from securealign.storage.folder import Sealers
from securealign.storage.spaces import Origin, SpaceFolder

ORIGIN = Origin("encoder", "ab" * 32, private=False)
ROWS = np.random.default_rng(0).normal(size=(60, 5)) * [1, 10, 1e-3, 1, 0] + 3


def space(rows=ROWS, seed=b"space"):
    return Space.of(Rows(rows), SeededEntropy(seed))


class OtherRoot(FixedRoot):
    """Another key under the same name, as in a key store that was made anew."""

    def derive(self, context):
        return bytes(32)


@pytest.fixture
def folder(tmp_path):
    return SpaceFolder(tmp_path / "spaces" / "default", Sealers(FixedRoot()))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spaces" / "default" / ORIGIN.file


def numbers_of(kept):
    """Return everything that a space is, as bytes."""
    parts = [kept.scaling.mean, kept.scaling.scale, kept.centre, kept.inner, kept.outer, kept.norms]
    return [part.tobytes() for part in parts], kept.scaling.norm, kept.count, kept.identifier


HEAVY = ROWS * np.where(np.arange(60) < 3, 1e3, 1)[:, None]


@pytest.mark.parametrize(
    "made",
    [space(), space(HEAVY), Space.fixed(5, SeededEntropy(b"f"))],
    ids=["ordinary", "of heavy-tailed rows", "fixed"],
)
def test_a_space_is_found_again_bit_for_bit(folder, made):
    folder.keep(made, ORIGIN)
    folder.use(ORIGIN)
    for found in (folder.find(ORIGIN), folder.current()):
        assert numbers_of(found) == numbers_of(made)
    assert {field.name for field in dataclasses.fields(Space)} == {
        *("identifier", "scaling", "centre", "inner", "outer", "norms", "count")
    }


def test_a_space_answers_as_before_it_was_kept(folder):
    made = space()
    folder.keep(made, ORIGIN)
    found = folder.find(ORIGIN)
    np.testing.assert_array_equal(found.rows(Rows(ROWS)).block(0, 60), made.rows(Rows(ROWS)).block(0, 60))
    assert found.total_squares == made.total_squares


@pytest.mark.parametrize(
    "changes",
    [{"encoder": "another"}, {"encoder": ""}, {"dataset_digest": "cd" * 32}, {"private": True}],
    ids=str,
)
def test_another_encoder_other_texts_and_noise_have_no_space_yet(folder, changes):
    folder.keep(space(), ORIGIN)
    assert folder.find(ORIGIN._replace(**changes)) is None
    assert folder.find(ORIGIN) is not None


def test_spaces_of_several_origins_lie_beside_one_another(folder):
    other = ORIGIN._replace(encoder="another")
    for origin, seed in ((ORIGIN, b"one"), (other, b"two")):
        folder.keep(space(seed=seed), origin)
    names = {folder.find(origin).identifier for origin in (ORIGIN, other)}
    assert len(names) == 2
    for origin in (other, ORIGIN, ORIGIN):
        folder.use(origin)
        assert folder.current().identifier == folder.find(origin).identifier


def test_an_empty_folder_says_how_a_space_comes_about(folder):
    assert folder.find(ORIGIN) is None
    with pytest.raises(ConfigurationError, match="There is no space in") as caught:
        folder.current()
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert "Start once with a section [public]" in caught.value.hint
    assert "space.folder" in caught.value.hint


def test_a_space_that_was_kept_and_never_used_is_not_current(folder):
    folder.keep(space(), ORIGIN)
    with pytest.raises(ConfigurationError, match="There is no space"):
        folder.current()


@pytest.mark.parametrize("place", [0, 4, 20, 200, -1])
def test_altered_bytes_are_refused(folder, path, place):
    folder.keep(space(), ORIGIN)
    folder.use(ORIGIN)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    for read in (lambda: folder.find(ORIGIN), folder.current):
        with pytest.raises(KeyStoreError) as caught:
            read()
        assert str(path) in caught.value.message
        assert "Restore it with the key store" in caught.value.hint
        assert "align again" in caught.value.hint


@pytest.mark.parametrize("length", [0, 3, 60, -1])
def test_a_file_that_was_cut_is_refused(folder, path, length):
    folder.keep(space(), ORIGIN)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(KeyStoreError, match=r"was altered|cannot be read"):
        folder.find(ORIGIN)


@pytest.mark.parametrize("sealers", [Sealers(OtherRoot())], ids=["another key"])
def test_a_space_under_another_key_is_refused(folder, tmp_path, sealers):
    folder.keep(space(), ORIGIN)
    with pytest.raises(KeyStoreError, match="sealed under a key that is not here") as caught:
        SpaceFolder(tmp_path / "spaces" / "default", sealers).find(ORIGIN)
    assert caught.value.code.exit_code is ExitCode.INPUT


def test_a_space_that_was_moved_to_another_origin_is_refused(folder, path):
    other = ORIGIN._replace(encoder="another")
    folder.keep(space(), ORIGIN)
    path.rename(path.with_name(other.file))
    with pytest.raises(KeyStoreError, match="was altered"):
        folder.find(other)


def test_a_file_that_is_a_folder_is_refused(folder, path):
    path.mkdir(parents=True)
    with pytest.raises(KeyStoreError, match="cannot be read"):
        folder.find(ORIGIN)


@pytest.mark.parametrize("name", ["../default/x.space", "/etc/passwd", "a/b"])
def test_the_current_space_is_a_file_of_the_folder(folder, path, name):
    folder.keep(space(), ORIGIN)
    path.with_name("current").write_text(name, encoding="ascii")
    with pytest.raises(KeyStoreError, match="names no file of its folder"):
        folder.current()


@pytest.mark.parametrize("name", [b"gone.space", b"", b"\n"])
def test_a_current_space_that_is_not_there_is_named(folder, path, name):
    folder.keep(space(), ORIGIN)
    path.with_name("current").write_bytes(name)
    with pytest.raises(KeyStoreError, match="cannot be read") as caught:
        folder.current()
    assert caught.value.hint


def test_only_the_owner_can_read_a_space(folder, path):
    before = os.umask(0)
    try:
        folder.keep(space(), ORIGIN)
        folder.use(ORIGIN)
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {ORIGIN.file: 0o600, "current": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_of_a_space_can_be_read_without_its_key(folder, path):
    made = space()
    folder.keep(made, ORIGIN)
    content = path.read_bytes()
    for secret in (made.identifier, made.identifier.hex().encode(), ORIGIN.encoder.encode(), made.inner[0].tobytes()):
        assert secret not in content


def test_after_the_storage_key_was_replaced_an_old_space_opens_still(tmp_path):
    made = space()
    state = open_cheaply(tmp_path / "state")
    SpaceFolder(tmp_path / "spaces", state.folder.sealers).keep(made, ORIGIN)
    old = state.keys.current(Purpose.STORAGE).name
    state.keys.rotate(Purpose.STORAGE)
    state.close()

    state = open_cheaply(tmp_path / "state")
    folder = SpaceFolder(tmp_path / "spaces", state.folder.sealers)
    assert state.folder.sealers.current.name != old
    assert numbers_of(folder.find(ORIGIN)) == numbers_of(made)
    state.close()


def test_a_space_whose_key_was_destroyed_is_refused(tmp_path):
    state = open_cheaply(tmp_path / "state")
    SpaceFolder(tmp_path / "spaces", state.folder.sealers).keep(space(), ORIGIN)
    old = state.keys.current(Purpose.STORAGE).name
    state.keys.rotate(Purpose.STORAGE)
    state.keys.destroy(old)
    state.close()

    state = open_cheaply(tmp_path / "state")
    with pytest.raises(KeyStoreError, match="sealed under a key that is not here") as caught:
        SpaceFolder(tmp_path / "spaces", state.folder.sealers).find(ORIGIN)
    assert "align again" in caught.value.hint
    state.close()


def test_the_salt_of_heads_is_drawn_once(folder, tmp_path):
    first = folder.salt(SeededEntropy(b"first"))
    assert len(first) == 32
    again = SpaceFolder(tmp_path / "spaces" / "default", Sealers(FixedRoot()))
    assert again.salt(SeededEntropy(b"second")) == first
    assert SpaceFolder(tmp_path / "other", Sealers(FixedRoot())).salt(SeededEntropy(b"second")) != first
    file = tmp_path / "spaces" / "default" / "head.salt"
    assert first not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_altered_salt_is_refused(folder, tmp_path):
    folder.salt(SeededEntropy(b"first"))
    file = tmp_path / "spaces" / "default" / "head.salt"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(KeyStoreError, match="was altered") as caught:
        folder.salt(SeededEntropy(b"second"))
    assert "digest" in caught.value.hint
