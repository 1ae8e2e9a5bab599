"""Embeddings from files: matrices of finite floats, or an error that says which row or key."""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from securealign.data import PublicTexts
from securealign.errors import ErrorCode, InputError
from securealign.models import load_embeddings, precomputed
from securealign.models.precomputed import is_array_file
from securealign.models.source import load_paired, load_public_embeddings

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
    np.testing.assert_array_equal(load_embeddings(f"{path}:z"), MATRIX)
    np.testing.assert_array_equal(load_embeddings(tmp_path / f"{name}:a"), MATRIX + 1)
    with pytest.raises(InputError, match="holds several arrays") as caught:
        load_embeddings(path)
    assert caught.value.hint == f"Name one: {path}:a or {path}:z."
    for wrong in ({"path": path, "key": "q"}, {"path": f"{path}:q"}):
        with pytest.raises(InputError, match="holds no array 'q'") as caught:
            load_embeddings(**wrong)
        assert caught.value.hint == f"Name one: {path}:a or {path}:z."


def test_a_file_without_arrays_is_refused(tmp_path):
    save_npz(tmp_path / "x.npz", {})
    with pytest.raises(InputError, match=r"x\.npz holds no arrays"):
        load_embeddings(tmp_path / "x.npz")


@pytest.mark.parametrize(("name", "save"), KEYED.items())
@pytest.mark.parametrize("folder", ["plain", "a:b", "old.npz:copies"])
@pytest.mark.parametrize("key", ["z", "layer:1", "model/last", "x.npz:z"])
def test_names_of_folders_and_arrays_may_hold_colons(tmp_path, name, save, folder, key):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / name
    save(path, {key: MATRIX, "other": MATRIX + 1})
    np.testing.assert_array_equal(load_embeddings(f"{path}:{key}"), MATRIX)


def test_a_file_that_is_there_is_read_whatever_its_name(tmp_path):
    np.save(tmp_path / "run:3.npy", MATRIX)
    np.testing.assert_array_equal(load_embeddings(tmp_path / "run:3.npy"), MATRIX)
    save_npz(tmp_path / "a.npz:b.npz", {"z": MATRIX, "y": MATRIX + 1})
    np.testing.assert_array_equal(load_embeddings(tmp_path / "a.npz:b.npz:z"), MATRIX)
    with pytest.raises(InputError, match=r"a\.npz:b\.npz holds several arrays"):
        load_embeddings(tmp_path / "a.npz:b.npz")


def test_a_key_of_a_missing_file_leaves_the_file_to_be_named(tmp_path):
    with pytest.raises(InputError, match=r"x\.npz cannot be read: No such file"):
        load_embeddings(tmp_path / "x.npz:z")


@pytest.mark.parametrize("name", ["x.npy", "x.npz:z", "x.safetensors:z", "X.NPZ"])
def test_array_files_are_known_by_their_names(name):
    assert is_array_file(name)
    assert not is_array_file("organisation/model:npz")


def save_halves(path, halves, kind="BF16"):
    header = json.dumps(
        {
            "first": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "emb": {"dtype": kind, "shape": list(halves.shape), "data_offsets": [4, 4 + halves.nbytes]},
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4) + halves.tobytes())


def test_bfloat16_is_widened_exactly(tmp_path):
    values = np.array([[1.0, -2.5, 0.0078125], [3.0e38, -0.0, 1e-40]], dtype=np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    save_halves(tmp_path / "x.safetensors", halves)
    read = load_embeddings(tmp_path / "x.safetensors:emb")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.view(np.uint32), halves.astype(np.uint32) << 16)
    assert read[0].tolist() == [1.0, -2.5, 0.0078125]


def test_values_of_bfloat16_that_are_not_finite_are_refused(tmp_path):
    save_halves(tmp_path / "x.safetensors", np.array([[0x3F80], [0x7FC0]], dtype="<u2"))
    with pytest.raises(InputError, match=r"Row 1 of .*x\.safetensors"):
        load_embeddings(tmp_path / "x.safetensors", key="emb")


@pytest.mark.parametrize(("kind", "width"), [("F8_E4M3", "u1"), ("F8_E5M2", "u1"), ("I16", "<u2"), ("BOOL", "u1")])
def test_other_types_of_safetensors_are_refused_with_a_remedy(tmp_path, kind, width):
    save_halves(tmp_path / "x.safetensors", np.zeros((2, 3), dtype=width), kind)
    with pytest.raises(InputError, match=f"holds {kind}, not floating-point numbers.*Convert it to float32") as caught:
        load_embeddings(tmp_path / "x.safetensors:emb")
    assert caught.value.code is ErrorCode.FILE_INVALID


def test_rows_of_repeated_public_texts_are_left_out(tmp_path):
    np.save(tmp_path / "x.npy", MATRIX)
    public = PublicTexts.of(["a", "b", "a", "c"])
    np.testing.assert_array_equal(load_public_embeddings(tmp_path / "x.npy", public), MATRIX[[0, 1, 3]])
    with pytest.raises(InputError, match="has 4 rows for 3 texts") as caught:
        load_public_embeddings(tmp_path / "x.npy", PublicTexts.of(public.texts))
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


def test_one_row_for_each_text_is_required(tmp_path):
    save_npz(tmp_path / "x.npz", {"z": MATRIX, "short": MATRIX[:3]})
    np.testing.assert_array_equal(load_paired(tmp_path / "x.npz:z", 4), MATRIX)
    with pytest.raises(InputError, match=r"x\.npz:short has 3 rows for 4 texts"):
        load_paired(tmp_path / "x.npz:short", 4)


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
