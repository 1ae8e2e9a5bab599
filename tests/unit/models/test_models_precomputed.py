"""Embeddings from files: matrices of finite floats, or an error that says which row or key."""

import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from securealign.errors import ErrorCode, InputError
from securealign.models import load_embeddings, precomputed

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_npy_is_mapped_and_keeps_its_type(tmp_path):
    for dtype in (np.float16, np.float32, np.float64):
        np.save(tmp_path / "x.npy", MATRIX.astype(dtype))
        read = load_embeddings(tmp_path / "x.npy")
        assert isinstance(read, np.memmap)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, MATRIX)


def save_npz(path, arrays):
    np.savez(path, **arrays)


def save_safetensors(path, arrays):
    save_file(arrays, path)


KEYED = {"x.npz": save_npz, "x.safetensors": save_safetensors}


@pytest.mark.parametrize(("name", "save"), KEYED.items())
def test_files_of_several_arrays_need_a_key(tmp_path, name, save):
    path = tmp_path / name
    save(path, {"z": MATRIX})
    np.testing.assert_array_equal(load_embeddings(path), MATRIX)
    save(path, {"a": MATRIX + 1, "z": MATRIX})
    np.testing.assert_array_equal(load_embeddings(path, key="z"), MATRIX)
    with pytest.raises(InputError, match=r"holds several arrays. Give one of these keys: a, z"):
        load_embeddings(path)
    with pytest.raises(InputError, match=r"holds no array 'q'. Give one of these keys: a, z"):
        load_embeddings(path, key="q")


def test_a_key_for_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", MATRIX)
    with pytest.raises(InputError, match="holds one array and so no key 'z'"):
        load_embeddings(tmp_path / "x.npy", key="z")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_row_that_is_not_finite_is_named_even_in_a_late_block(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(precomputed, "_BLOCK_BYTES", 24)
    matrix = MATRIX.copy()
    matrix[3, 2] = bad
    np.save(tmp_path / "x.npy", matrix)
    with pytest.raises(InputError, match=r"Row 3 of .*x\.npy") as caught:
        load_embeddings(tmp_path / "x.npy")
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (MATRIX[0], r"holds the shape \(3,\)"),
        (MATRIX[:0], r"holds the shape \(0, 3\)"),
        (MATRIX.astype(np.int64), "holds int64, not floating-point numbers"),
        (MATRIX.astype(complex), "holds complex128"),
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=message) as caught:
        load_embeddings(tmp_path / "x.npy")
    assert caught.value.code is ErrorCode.FILE_INVALID


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_a_pickle_is_never_executed(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="cannot be read"):
        load_embeddings(tmp_path / name)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    array = np.array([[Bomb()]], dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_embeddings(tmp_path / "x.npy")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_damaged_files_are_reported(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        load_embeddings(tmp_path / name)


def test_a_missing_file_and_an_unknown_kind_are_reported(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_embeddings(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"no known kind of array file\. Name it \.npy, \.npz, \.safetensors"):
        load_embeddings(tmp_path / "x.pt")
