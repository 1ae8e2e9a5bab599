"""A provider remembers the texts of data sets over which it charged peers, and finds those that it serves again."""

from __future__ import annotations

import os
import stat

import pytest

from securealign.data.digest import dataset_digest
from securealign.errors import ErrorCode, KeyStoreError
from securealign.storage import public_rows
from securealign.storage.public_rows import PublicRows, row_identities

FIRST = [f"text {number}" for number in range(20)]


def serve(folder, texts, *charged):
    """Serve texts where peers were charged over others."""
    digests = {dataset_digest(other).hex() for other in charged}
    return PublicRows(folder / "rows").serve(dataset_digest(texts), row_identities(texts), digests)


def test_rows_that_were_served_before_are_found_wherever_they_stand(tmp_path):
    assert serve(tmp_path, FIRST) == ()
    texts = ["new", *reversed(FIRST[:3]), "newer", FIRST[19]]
    (shared,) = serve(tmp_path, texts, FIRST)
    assert (shared.digest, shared.rows) == (dataset_digest(FIRST), 20)
    assert shared.common == 0b101110
    # The next data set finds both, and data sets without a common row are left out.
    assert {other.common for other in serve(tmp_path, ["newest", *FIRST[18:]], FIRST, texts)} == {0b110, 0b100}
    assert serve(tmp_path, ["another"], FIRST, texts) == ()


def test_the_data_set_that_is_served_is_no_other_one(tmp_path):
    for _ in range(2):
        assert serve(tmp_path, FIRST, FIRST) == ()


def test_data_sets_over_which_nobody_was_charged_are_forgotten(tmp_path):
    serve(tmp_path, FIRST)
    assert serve(tmp_path, FIRST[:10]) == ()
    assert [file.stem for file in (tmp_path / "rows").iterdir()] == [dataset_digest(FIRST[:10]).hex()]
    assert serve(tmp_path, FIRST[:5], FIRST) == ()


def test_so_many_data_sets_are_remembered_those_served_last(tmp_path, monkeypatch):
    monkeypatch.setattr(public_rows, "MOST_DATASETS", 2)
    sets = [[*FIRST, f"version {number}"] for number in range(4)]
    for number, texts in enumerate(sets):
        shared = serve(tmp_path, texts, *sets)
        os.utime(tmp_path / "rows" / f"{dataset_digest(texts).hex()}.rows", ns=(number, number))
    assert [other.digest for other in shared] == [dataset_digest(sets[2]), dataset_digest(sets[1])]
    assert len(list((tmp_path / "rows").iterdir())) == 3


def test_what_is_kept_are_digests_for_the_owner_alone(tmp_path):
    serve(tmp_path, FIRST)
    (file,) = (tmp_path / "rows").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    content = file.read_bytes()
    assert len(content) == 16 * len(FIRST)
    assert b"text" not in content


@pytest.mark.parametrize("kept", [0, 17])
def test_a_file_that_was_cut_short_is_named(tmp_path, kept):
    serve(tmp_path, FIRST)
    (file,) = (tmp_path / "rows").iterdir()
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(KeyStoreError, match="was cut short") as caught:
        serve(tmp_path, FIRST[:5], FIRST)
    assert caught.value.code is ErrorCode.STORE_DAMAGED
    assert "Restore it" in caught.value.hint
