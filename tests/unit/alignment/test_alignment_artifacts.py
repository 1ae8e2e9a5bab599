"""A saved map or head is read as it was written, or not at all."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from securealign import AlignmentMap, LinearHead, files
from securealign.alignment import artifacts
from securealign.errors import ErrorCode, InputError

MAP = AlignmentMap(np.array([[1.0, np.pi], [1e-300, -0.0]]), np.array([1 / 3, 2.0]), {"ridge": 0.1, "rows": 7})
HEAD = LinearHead(np.eye(2), np.array([0.5, -0.5]), ("größer", "kleiner"))
MANIFEST = "manifest.json"


def tensors_of(folder):
    """The file of tensors that the manifest names."""
    (path,) = folder.glob("*.safetensors")
    return path


@pytest.fixture
def folder(tmp_path):
    MAP.save_pretrained(tmp_path)
    return tmp_path


def assert_invalid(folder, match, kind=AlignmentMap):
    with pytest.raises(InputError, match=match) as caught:
        kind.from_pretrained(folder)
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert str(folder) in str(caught.value)


def test_a_map_comes_back_bit_for_bit(folder):
    loaded = AlignmentMap.from_pretrained(folder)
    assert loaded.weight.tobytes() == MAP.weight.tobytes()
    assert loaded.bias.tobytes() == MAP.bias.tobytes()
    assert loaded.metadata == MAP.metadata


def test_a_head_comes_back_with_its_names(tmp_path):
    HEAD.save_pretrained(str(tmp_path), encoder="some/encoder")
    loaded = LinearHead.from_pretrained(str(tmp_path))
    assert loaded.class_names == HEAD.class_names
    np.testing.assert_array_equal(loaded.weight, HEAD.weight)
    np.testing.assert_array_equal(loaded.bias, HEAD.bias)
    assert json.loads((tmp_path / MANIFEST).read_text())["encoder"] == "some/encoder"


def test_arrays_in_any_memory_order_are_saved(tmp_path):
    AlignmentMap(np.asfortranarray(MAP.weight), MAP.bias[::-1]).save_pretrained(tmp_path)
    loaded = AlignmentMap.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.weight, MAP.weight)
    np.testing.assert_array_equal(loaded.bias, MAP.bias[::-1])


def test_an_artifact_is_two_files_and_no_pickle(folder):
    assert {path.name for path in folder.iterdir()} == {tensors_of(folder).name, MANIFEST}
    assert set(safetensors.numpy.load(tensors_of(folder).read_bytes())) == {"weight", "bias"}


def test_saving_again_replaces(folder):
    AlignmentMap(np.ones((1, 1)), np.ones(1)).save_pretrained(folder)
    assert AlignmentMap.from_pretrained(folder).weight.shape == (1, 1)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("pattern", ["*.safetensors", MANIFEST])
def test_a_missing_file_is_named(folder, pattern):
    (path,) = folder.glob(pattern)
    path.unlink()
    assert_invalid(folder, f"there is no .*{path.name}")


def test_a_missing_folder_is_named(tmp_path):
    assert_invalid(tmp_path / "nowhere", "nowhere is not a saved alignment")


def test_another_kind_is_refused(folder):
    assert_invalid(folder, "is not a saved head: the manifest is of another kind", kind=LinearHead)


@pytest.mark.parametrize("place", [0, 9, -1])
def test_tampered_tensors_are_refused(folder, place):
    data = bytearray(tensors_of(folder).read_bytes())
    data[place] ^= 1
    tensors_of(folder).write_bytes(data)
    assert_invalid(folder, "do not have the hash in the manifest")


@pytest.mark.parametrize(
    ("manifest", "match"),
    [
        (b"", "JSONDecodeError"),
        (b"{", "JSONDecodeError"),
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"[]", "another kind or format"),
        (b"null", "another kind or format"),
        (b"{}", "another kind or format"),
        (b'{"format": 2, "kind": "alignment"}', "another kind or format"),
        (b'{"format": 1, "kind": "alignment"}', "names no tensors"),
        (b'{"format": 1, "kind": "alignment", "tensors": null}', "names no tensors"),
        (b'{"format": 1, "kind": "alignment", "tensors": []}', "names no tensors"),
        (b'{"format": 1, "kind": "alignment", "tensors": {"sha256": ""}}', "names no tensors"),
        (b'{"format": 1, "kind": "alignment", "tensors": {"sha256": "../../../../secret"}}', "names no tensors"),
    ],
)
def test_another_manifest_is_refused(folder, manifest, match):
    (folder / MANIFEST).write_bytes(manifest)
    assert_invalid(folder, match)


def replace_tensors(folder, data: bytes) -> None:
    """Write other tensors with a manifest that vouches for them."""
    manifest = json.loads((folder / MANIFEST).read_text())
    digest = hashlib.sha256(data).hexdigest()
    manifest["tensors"]["sha256"] = digest
    tensors_of(folder).rename(folder / f"{digest[:16]}.safetensors").write_bytes(data)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"weight": np.ones((2, 2))}, "no weight and bias"),
        ({"weight": np.ones((2, 2)), "bias": np.ones(2), "more": np.ones(1)}, "no weight and bias"),
        ({"weight": np.ones((2, 2), dtype=np.float32), "bias": np.ones(2)}, "not float64"),
        ({"weight": np.full((2, 2), np.nan), "bias": np.ones(2)}, "not finite"),
    ],
    ids=["no bias", "more", "single precision", "NaN"],
)
def test_tensors_of_another_make_are_refused(folder, tensors, match):
    replace_tensors(folder, safetensors.numpy.save(tensors))
    assert_invalid(folder, match)


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64], ids=range(4))
def test_bytes_that_are_no_safetensors_are_refused(folder, data):
    replace_tensors(folder, data)
    assert_invalid(folder, "is not a saved alignment|holds no weight and bias")


@pytest.mark.parametrize("names", [None, "ab", {"a": 1}])
def test_a_head_without_class_names_is_refused(tmp_path, names):
    HEAD.save_pretrained(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text()) | {"class_names": names}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert_invalid(tmp_path, "no weight, bias and class names", kind=LinearHead)


TENSORS = ".safetensors"


def fail_on(monkeypatch, ending):
    """Let writing a file whose name ends so fail."""

    def write(path, data, **options):
        if path.name.endswith(ending):
            raise OSError("disk full")
        files.write_atomically(path, data, **options)

    monkeypatch.setattr(artifacts, "write_atomically", write)


@pytest.mark.parametrize("ending", [TENSORS, MANIFEST])
def test_a_first_save_that_fails_leaves_nothing_that_could_be_read(tmp_path, monkeypatch, ending):
    fail_on(monkeypatch, ending)
    with pytest.raises(OSError, match="disk full"):
        MAP.save_pretrained(tmp_path)
    assert_invalid(tmp_path, "there is no ")


@pytest.mark.parametrize("ending", [TENSORS, MANIFEST])
def test_a_later_save_that_fails_leaves_the_old_one(folder, monkeypatch, ending):
    fail_on(monkeypatch, ending)
    with pytest.raises(OSError, match="disk full"):
        AlignmentMap(np.ones((1, 1)), np.ones(1)).save_pretrained(folder)
    np.testing.assert_array_equal(AlignmentMap.from_pretrained(folder).weight, MAP.weight)
