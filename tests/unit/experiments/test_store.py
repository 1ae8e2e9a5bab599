import json

import pytest

from securealign.lab.experiments.run import Store


def test_a_cell_is_computed_once(tmp_path):
    calls = []
    for _ in range(2):
        rows = Store(tmp_path).rows("trial", {"seed": 1}, lambda: calls.append(1) or [{"a": 1.5, "b": None}])
        assert rows == [{"a": 1.5, "b": None}]
    assert calls == [1]


def test_another_key_is_another_cell(tmp_path):
    store = Store(tmp_path)
    assert store.rows("trial", {"seed": 1}, lambda: [{"a": 1}]) != store.rows("trial", {"seed": 2}, lambda: [{"a": 2}])
    assert store.rows("other", {"seed": 1}, lambda: [{"a": 3}]) == [{"a": 3}]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"rows": 3}', b'{"rows": [3]}', b"\xff"])
def test_a_damaged_cell_is_computed_again(tmp_path, damage):
    store = Store(tmp_path)
    store.rows("trial", {"seed": 1}, lambda: [{"a": 1}])
    (cell,) = (tmp_path / "trial").iterdir()
    cell.write_bytes(damage)
    assert store.rows("trial", {"seed": 1}, lambda: [{"a": 2}]) == [{"a": 2}]
    assert json.loads(cell.read_text())["rows"] == [{"a": 2}]


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).rows("trial", {"seed": 1}, fail)
    assert list(tmp_path.rglob("*.json")) == []


def test_not_a_number_is_refused_rather_than_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Store(tmp_path).rows("trial", {"seed": 1}, lambda: [{"a": float("nan")}])
    assert list(tmp_path.rglob("*.json")) == []


def test_cells_are_for_their_owner_alone(tmp_path):
    Store(tmp_path).rows("trial", {}, list)
    (cell,) = (tmp_path / "trial").iterdir()
    assert cell.stat().st_mode & 0o077 == 0
