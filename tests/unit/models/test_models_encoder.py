"""Fingerprints name what an encoder computes; rows that are not finite are named."""

import numpy as np
import pytest

from securealign.errors import DependencyError, ErrorCode, InputError
from securealign.models.encoder import check_finite, fingerprint_of
from securealign.optional import require


def test_a_fingerprint_changes_with_any_file_name_content_or_setting(tmp_path):
    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "b").write_bytes(b"other")
    base = fingerprint_of({"w": tmp_path / "a"}, {"max_tokens": 64})
    assert len(bytes.fromhex(base)) == 32
    assert base == fingerprint_of({"w": tmp_path / "a"}, {"max_tokens": 64})
    others = {
        fingerprint_of({"w": tmp_path / "b"}, {"max_tokens": 64}),
        fingerprint_of({"v": tmp_path / "a"}, {"max_tokens": 64}),
        fingerprint_of({"w": tmp_path / "a"}, {"max_tokens": 65}),
        fingerprint_of({}, {"max_tokens": 64}),
    }
    assert len(others | {base}) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_row_that_is_not_finite_is_named(bad):
    values = np.zeros((5, 2), dtype=np.float32)
    check_finite(values, 0, "x")
    values[3, 1] = bad
    with pytest.raises(InputError, match="Row 103 of x holds NaN") as caught:
        check_finite(values, 100, "x")
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT


def test_a_missing_package_names_the_extra():
    with pytest.raises(DependencyError, match=r"This needs no_such_package.*pip install 'securealign\[models\]'"):
        require("no_such_package.part", "This")
