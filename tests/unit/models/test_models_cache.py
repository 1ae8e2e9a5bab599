"""Texts are encoded once; what was encoded before an interruption is not encoded again."""

import hashlib
import stat

import numpy as np
import pytest

from securealign.errors import AssetError, InputError
from securealign.models import EmbeddingCache

TEXTS = tuple(f"text {n}" for n in range(10))


class FakeEncoder:
    """Embeds a text as three bytes of its hash, counts its work, and stops when its patience ends."""

    name, dimension = "fake", 3

    def __init__(self, seed="one", patience=10**9):
        self.fingerprint = hashlib.sha256(seed.encode()).hexdigest()
        self.patience, self.encoded = patience, []

    def encode(self, texts, *, progress=None):
        if len(self.encoded) + len(texts) > self.patience:
            raise KeyboardInterrupt
        self.encoded += texts
        if progress:
            progress(len(texts), len(texts))
        rows = [list(hashlib.sha256(text.encode()).digest()[: self.dimension]) for text in texts]
        return np.array(rows, dtype=np.float32)


EXPECTED = FakeEncoder().encode(TEXTS)


def cache_in(folder):
    return EmbeddingCache(folder, block_rows=4)


def test_a_second_call_reads_what_the_first_wrote(tmp_path):
    first, second = FakeEncoder(), FakeEncoder()
    np.testing.assert_array_equal(cache_in(tmp_path).encode(first, TEXTS), EXPECTED)
    again = cache_in(tmp_path).encode(second, TEXTS)
    np.testing.assert_array_equal(again, EXPECTED)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert (len(first.encoded), second.encoded) == (10, [])


@pytest.mark.parametrize(
    ("encoder", "texts"), [(FakeEncoder("two"), TEXTS), (FakeEncoder(), TEXTS[::-1]), (FakeEncoder(), TEXTS[:9])]
)
def test_another_encoder_order_or_number_of_texts_is_another_matrix(tmp_path, encoder, texts):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
    cache_in(tmp_path).encode(encoder, texts)
    assert len(encoder.encoded) == len(texts)


def test_an_interrupted_run_continues_after_its_last_block(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cache_in(tmp_path).encode(FakeEncoder(patience=9), TEXTS)
    rest, seen = FakeEncoder(), []
    result = cache_in(tmp_path).encode(rest, TEXTS, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(result, EXPECTED)
    assert rest.encoded == list(TEXTS[8:])
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_blocks_of_another_size_are_not_mistaken(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path, block_rows=3).encode(FakeEncoder(patience=9), TEXTS)
    np.testing.assert_array_equal(cache_in(tmp_path).encode(FakeEncoder(), TEXTS), EXPECTED)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01"])
def test_a_damaged_matrix_is_encoded_again(tmp_path, damage):
    cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
    next(tmp_path.iterdir()).write_bytes(damage)
    np.testing.assert_array_equal(cache_in(tmp_path).encode(FakeEncoder(), TEXTS), EXPECTED)


def test_a_run_that_was_overtaken_uses_what_the_other_wrote(tmp_path):
    class Overtaken(FakeEncoder):
        def encode(self, texts, *, progress=None):
            cache_in(tmp_path).encode(FakeEncoder(), TEXTS)
            return super().encode(texts, progress=progress)

    np.testing.assert_array_equal(cache_in(tmp_path).encode(Overtaken(), TEXTS), EXPECTED)


def test_only_the_owner_can_read_the_folder(tmp_path):
    cache_in(tmp_path / "new").encode(FakeEncoder(), TEXTS)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_no_texts_and_an_unusable_folder_are_reported(tmp_path):
    with pytest.raises(InputError, match="no texts to encode"):
        cache_in(tmp_path).encode(FakeEncoder(), ())
    (tmp_path / "file").touch()
    with pytest.raises(AssetError, match=r"cannot be used.*choose a folder you can write to"):
        cache_in(tmp_path / "file").encode(FakeEncoder(), TEXTS)
