"""Texts are encoded once; what was encoded before an interruption is not encoded again."""

import hashlib
import stat
from pathlib import Path

import numpy as np
import pytest

from securealign.errors import AssetError, InputError
from securealign.models import EmbeddingCache

TEXTS = tuple(f"text {n}" for n in range(10))


class FakeEncoder:
    """Embeds a text as three bytes of its hash, counts its work, and stops after `limit` texts."""

    name, dimension = "fake", 3

    def __init__(self, seed="one", limit=10**9):
        self.fingerprint = hashlib.sha256(seed.encode()).hexdigest()
        self.limit, self.encoded = limit, []

    def encode(self, texts, *, progress=None):
        if len(self.encoded) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.encoded += texts
        if progress:
            progress(len(texts), len(texts))
        rows = [list(hashlib.sha256(text.encode()).digest()[: self.dimension]) for text in texts]
        return np.array(rows, dtype=np.float32)


EXPECTED = FakeEncoder().encode(TEXTS)


def cache_in(folder):
    return EmbeddingCache(folder, block_rows=4)


def blocks_in(folder):
    return sorted(folder.rglob("*.npz"))


def test_a_second_call_reads_what_the_first_wrote(tmp_path):
    first, second = FakeEncoder(), FakeEncoder()
    np.testing.assert_array_equal(cache_in(tmp_path).encode(first, TEXTS), EXPECTED)
    again = cache_in(tmp_path).encode(second, TEXTS)
    np.testing.assert_array_equal(again, EXPECTED)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert (len(first.encoded), second.encoded) == (10, [])
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".npz"] * 3


def test_a_text_is_encoded_once_in_whatever_order_and_number(tmp_path):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS[:6])
    encoder = FakeEncoder()
    mixed = [*TEXTS[::-1], TEXTS[0]]
    np.testing.assert_array_equal(cache_in(tmp_path).encode(encoder, mixed), FakeEncoder().encode(mixed))
    assert sorted(encoder.encoded) == sorted(TEXTS[6:])


def test_encoders_share_nothing(tmp_path):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
    other = FakeEncoder("two")
    cache_in(tmp_path).encode(other, TEXTS)
    assert len(other.encoded) == 10


def test_the_longest_texts_are_encoded_first(tmp_path):
    encoder = FakeEncoder()
    cache_in(tmp_path).encode(encoder, ["b", "aaaa", "cc"])
    assert encoder.encoded == ["aaaa", "cc", "b"]


def test_an_interrupted_run_continues_after_its_last_block(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cache_in(tmp_path).encode(FakeEncoder(limit=9), TEXTS)
    rest, seen = FakeEncoder(), []
    result = cache_in(tmp_path).encode(rest, TEXTS, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(result, EXPECTED)
    assert (len(rest.encoded), seen) == (2, [(2, 2)])


def test_progress_counts_over_all_blocks(tmp_path):
    seen = []
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("unsorted", [1000, 5])
def test_the_folder_is_looked_through_once_for_all_blocks(tmp_path, monkeypatch, unsorted):
    monkeypatch.setattr("securealign.models.cache._UNSORTED", unsorted)
    texts, load, glob = [f"text {number}" for number in range(60)], np.load, Path.glob
    cache_in(tmp_path).encode(FakeEncoder(), texts[:40])
    opened, listed = [], []
    monkeypatch.setattr(np, "load", lambda file, **options: opened.append(file.name) or load(file, **options))
    monkeypatch.setattr(Path, "glob", lambda self, pattern: listed.append(self) or glob(self, pattern))
    cache, encoder = cache_in(tmp_path), FakeEncoder()
    for _ in range(2):
        for first in range(0, 60, 4):
            block = texts[first : first + 4]
            np.testing.assert_array_equal(cache.encode(encoder, block), FakeEncoder().encode(block))
        assert encoder.encoded == texts[40:]
    # Ten files are looked through, and each of the 25 blocks that are known lies in at most two of 15.
    assert len(listed) == 1
    assert len(opened) <= 10 + 2 * 25


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_block_is_encoded_again(tmp_path, damage):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
    blocks_in(tmp_path)[0].write_bytes(damage)
    encoder = FakeEncoder()
    np.testing.assert_array_equal(cache_in(tmp_path).encode(encoder, TEXTS), EXPECTED)
    assert 2 <= len(encoder.encoded) <= 4


def test_a_block_of_another_shape_is_not_taken(tmp_path):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
    for path in blocks_in(tmp_path):
        with np.load(path) as content:
            keys = content["keys"]
        np.savez(path, keys=keys, vectors=np.zeros((len(keys), 5), dtype=np.float32))
    np.testing.assert_array_equal(cache_in(tmp_path).encode(FakeEncoder(), TEXTS), EXPECTED)


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    class Overtaken(FakeEncoder):
        def encode(self, texts, *, progress=None):
            cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
            return super().encode(texts, progress=progress)

    np.testing.assert_array_equal(cache_in(tmp_path).encode(Overtaken(), TEXTS), EXPECTED)


def test_only_the_owner_can_read_the_folder(tmp_path):
    cache_in(tmp_path / "new").encode(FakeEncoder(), TEXTS)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert modes == {0o700, 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize(("texts", "message"), [((), "no texts to encode"), (["\ud800"], "lone surrogate")])
def test_texts_that_cannot_be_encoded_are_reported(tmp_path, texts, message):
    with pytest.raises(InputError, match=message):
        cache_in(tmp_path).encode(FakeEncoder(), texts)


def test_an_unusable_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AssetError, match=r"cannot be used.*choose a folder you can write to"):
        cache_in(tmp_path / "file").encode(FakeEncoder(), TEXTS)
