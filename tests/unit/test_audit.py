"""An audit log grows at its end, survives crashes, and shows every other change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.errors import ErrorCode, KeyStoreError
from securealign.ops.audit import AuditError, AuditLog, Head, entries, verify
from securealign.ops.audit import log as log_module
from securealign.ops.audit.entries import DOMAIN, GENESIS, MAX_TEXT, TORN_MARK

START = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2)))


def clock():
    return START


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "audit.log"


def opened(path):
    return AuditLog(path, clock=clock)


def written(path, count=3):
    """Write a log with `count` sessions and return its head."""
    with opened(path) as log:
        for number in range(count):
            log.append("session done", identity="acme", phase="training", columns=8 + number)
        return log.head


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def test_an_entry_is_one_line_of_json(path):
    with opened(path) as log:
        entry = log.append("session refused", peer="acme", rule="RATE_LIMITED", bits=1.5, suites=["lwe"], retry=False)
    begun, line = map(json.loads, lines_of(path))
    assert begun["event"] == "log begun"
    assert (begun["sequence"], begun["previous"]) == (1, GENESIS)
    assert line == entry.as_dict()
    assert line["time"] == "2030-01-02T01:04:05.678Z"
    assert line["fields"] == {"bits": 1.5, "peer": "acme", "retry": False, "rule": "RATE_LIMITED", "suites": ["lwe"]}
    assert line["previous"] == begun["chain"]


def test_the_chain_can_be_checked_without_this_program(path):
    head = written(path)
    previous = "0" * 64
    for line in lines_of(path):
        body, chain = line[: line.index(b',"chain":')] + b"}", json.loads(line)["chain"]
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(DOMAIN + body).hexdigest()
        assert chain == previous
    assert head.chain == previous


def test_entries_are_durable_when_append_returns(path, monkeypatch):
    synced = []
    with opened(path) as log:
        monkeypatch.setattr(log_module.os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
        log.append("one")
        log.append("two")
    first, second = synced
    assert first < second == path.stat().st_size


def test_a_log_goes_on_where_it_ended(path):
    head = written(path)
    with opened(path) as log:
        assert log.head == head
        assert log.append("session done").previous == head.chain
    assert [entry.sequence for entry in entries(path)] == [1, 2, 3, 4, 5]
    assert verify(path, head=head).entries == 5


def test_a_log_much_longer_than_what_is_read_at_its_end_goes_on(path, monkeypatch):
    monkeypatch.setattr(log_module, "_TAIL_BYTES", 700)
    head = written(path, 20)
    with opened(path) as log:
        assert log.head == head
        log.append("session done")
    assert verify(path, head=head).entries == 22


def test_the_file_is_for_its_owner_alone(path):
    written(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_threads_share_a_log(path):
    with opened(path) as log, ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: log.append("session done", number=number), range(64)))
    assert sorted(entry.sequence for entry in made) == list(range(2, 66))
    assert {entry.fields["number"] for entry in entries(path) if entry.fields.get("number") is not None} == set(
        range(64)
    )


def test_another_process_is_kept_out(path):
    attempt = f"from pathlib import Path; from securealign.ops.audit import AuditLog; AuditLog(Path({str(path)!r}))"
    with opened(path), pytest.raises(KeyStoreError) as caught:
        opened(path)
    assert caught.value.code is ErrorCode.STORE_LOCKED
    with opened(path):
        done = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "Another process writes the audit log" in done.stderr
    assert subprocess.run([sys.executable, "-c", attempt], check=False).returncode == 0


def test_a_closed_log_takes_nothing(path):
    log = opened(path)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append("session done")


@pytest.mark.parametrize(
    "fields",
    [
        {"embedding": np.zeros(3)},
        {"value": np.float64(1)},
        {"key": b"secret"},
        {"nested": {"a": 1}},
        {"values": [[1]]},
        {"values": list(range(500))},
        {"size": 1 << 70},
        {"size": float("nan")},
        {"Name": 1},
        {"a b": 1},
        {f"a{number}": 1 for number in range(40)},
    ],
)
def test_contents_are_no_fields(path, fields):
    with opened(path) as log:
        with pytest.raises(AuditError) as caught:
            log.append("session done", **fields)
        log.append("session done")
    assert caught.value.code is ErrorCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert verify(path).entries == 2


@pytest.mark.parametrize("event", ["log begun", "unfinished entry"])
def test_events_of_the_log_itself_cannot_be_claimed(path, event):
    with opened(path) as log, pytest.raises(AuditError, match="own"):
        log.append(event)


HOSTILE = ['x","chain":"0"}\n{"sequence":9}', "\n", "\r", "\x1b[2K\x1b[1A", "\u2028", "\ud800", "\0", "#unfinished\n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_a_peer_forges_no_line(path, text):
    with opened(path) as log:
        log.append(text, peer=text)
        log.append("session done")
    assert len(lines_of(path)) == 3
    assert path.read_bytes().replace(b"\n", b"").decode("ascii").isprintable()
    assert [entry.fields.get("peer") for entry in entries(path)] == [None, text, None]


def test_long_texts_are_cut_and_say_so(path):
    with opened(path) as log:
        entry = log.append("session done", peer="\U0001f600" * 100_000)
    assert entry.fields["peer"].endswith("... (100000 characters)")
    assert len(entry.fields["peer"]) < MAX_TEXT + 30
    assert verify(path).entries == 2


def test_an_entry_that_is_too_long_is_refused_and_leaves_nothing(path):
    values = ["\U0001f600" * MAX_TEXT] * 32
    with opened(path) as log:
        size = path.stat().st_size
        with pytest.raises(AuditError, match="too long"):
            log.append("session done", values=values)
        assert path.stat().st_size == size


# Crashes


@pytest.mark.parametrize("whole", [0, 1, 2, 3])
@pytest.mark.parametrize("cut", [1, 2, 60, -1])
def test_a_crash_in_the_middle_of_an_entry_is_recorded_and_costs_no_other(tmp_path, whole, cut):
    path = tmp_path / "audit.log"
    written(path)
    before = lines_of(path)
    path.write_bytes(b"".join(before[:whole]) + before[whole][:cut])
    left = path.read_bytes()
    if whole:
        assert verify(path).unfinished_bytes == len(before[whole][:cut])
    head = written(path, 1)
    assert path.read_bytes().startswith(left)
    recorded = next(entry for entry in entries(path) if entry.event == "unfinished entry")
    torn = before[whole][:cut] + TORN_MARK + b"\n"
    assert recorded.fields == {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
    found = verify(path, head=head)
    assert (found.entries, found.unfinished_bytes) == (whole + 2 + (whole == 0), 0)


def test_crashes_while_a_crash_is_recorded_are_recorded_together(path, monkeypatch):
    # What of an entry has reached the file is what this test writes there: no power is lost.
    monkeypatch.setattr(log_module.os, "fsync", lambda file: None)
    head = written(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"sequence":5,"ti')
    written(path, 0)
    recovered = path.read_bytes()
    for length in range(len(whole) + 1, len(recovered)):
        path.write_bytes(recovered[:length])
        written(path, 1)
        assert path.read_bytes().startswith(recovered[:length])
        assert [entry.event for entry in entries(path)][-2:] == ["unfinished entry", "session done"]
        verify(path, head=head)


def test_a_disk_that_is_full_for_a_while_loses_nothing_that_was_promised(path, monkeypatch):
    with opened(path) as log:
        log.append("before")
        real = os.write

        def full(file, data):
            if len(data) > 20:
                return real(file, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(log_module.os, "write", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                log.append("refused")
        monkeypatch.undo()
        log.append("after")
    assert [entry.event for entry in entries(path)] == ["log begun", "before", "unfinished entry", "after"]
    verify(path)


# Tampering


def recompute(path, change, first=1):
    """Change the parsed entries of a log and chain them anew, as one can who knows the format."""
    changed = change([entry.as_dict() for entry in entries(path)])
    previous, out = GENESIS, b""
    for number, found in enumerate(changed, first):
        parts = {**found, "sequence": number, "previous": previous}
        del parts["chain"]
        body = json.dumps(parts, separators=(",", ":")).encode()
        previous = hashlib.sha256(DOMAIN + body).hexdigest()
        out += body[:-1] + f',"chain":"{previous}"}}\n'.encode()
    path.write_bytes(out)


def lines_alone(data):
    """A log without a chain, for comparison: whatever has the right lines is a log."""
    try:
        return all("event" in json.loads(line) for line in data.splitlines())
    except ValueError:
        return False


def change_columns(lines):
    return [line.replace(b'"columns":8', b'"columns":1') for line in lines]


TAMPERINGS = {
    "an entry edited": change_columns,
    "a time edited": lambda lines: [lines[0], lines[1].replace(b"2030", b"2029"), *lines[2:]],
    "the last entry edited": lambda lines: [*lines[:-1], lines[-1].replace(b"acme", b"evil")],
    "the first entry deleted": lambda lines: lines[1:],
    "an entry deleted": lambda lines: [*lines[:2], *lines[3:]],
    "entries swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "an entry repeated": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "the last entry repeated": lambda lines: [*lines, lines[-1]],
    "an entry of nobody inserted": lambda lines: [*lines[:2], b'{"event":"session done"}\n', *lines[2:]],
    "a space added": lambda lines: [lines[0].replace(b",", b", ", 1), *lines[1:]],
    "a field doubled": lambda lines: [lines[0].replace(b'"event"', b'"event":"x","event"', 1), *lines[1:]],
    "fields reordered": lambda lines: [
        lines[0],
        lines[1].replace(b'"columns":8,"identity":"acme"', b'"identity":"acme","columns":8'),
        *lines[2:],
    ],
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_is_found(path, tampering):
    written(path)
    before = path.read_bytes()
    path.write_bytes(b"".join(TAMPERINGS[tampering](lines_of(path))))
    assert path.read_bytes() != before
    assert lines_alone(path.read_bytes())  # Without the chain it would pass.
    with pytest.raises(AuditError) as caught:
        verify(path)
    assert caught.value.code is ErrorCode.AUDIT_BROKEN


@pytest.mark.parametrize("tampering", [name for name in TAMPERINGS if "last" in name])
def test_a_log_with_a_broken_end_is_not_continued(path, tampering):
    written(path)
    path.write_bytes(b"".join(TAMPERINGS[tampering](lines_of(path))))
    before = path.read_bytes()
    with pytest.raises(AuditError):
        opened(path)
    assert path.read_bytes() == before


def test_every_single_octet_counts(path):
    head = written(path, 2)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for flipped in (0x01, 0x80):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ flipped]) + whole[position + 1 :])
            # An end without its newline reads as a crash, which a kept head tells from an intact log.
            with pytest.raises(AuditError):
                verify(path, head=head)


@pytest.fixture(scope="module")
def whole_log(tmp_path_factory):
    """A log that tests may write over, its head and its content."""
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    return path, written(path), path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pieces_taken_out_moved_or_put_in_are_found(whole_log, data):
    path, head, whole = whole_log
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    changed = whole[:first] + data.draw(st.binary(max_size=40)) + whole[last:]
    if changed.startswith(whole):
        return
    path.write_bytes(changed)
    with pytest.raises(AuditError):
        verify(path, head=head)


def test_a_log_that_was_cut_shows_only_against_a_head(path):
    head = written(path)
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    assert verify(path).entries == 3
    with pytest.raises(AuditError, match="cut before it"):
        verify(path, head=head)


def test_a_log_that_was_written_anew_shows_only_against_a_head(path):
    head = written(path)
    recompute(path, lambda found: [found[0], *found[2:]])
    assert verify(path).entries == 3
    with pytest.raises(AuditError, match="written anew"):
        verify(path, head=head)


def test_entries_are_numbered_from_one(path):
    written(path)
    recompute(path, lambda found: found, first=2)
    with pytest.raises(AuditError, match="Entry 2 stands where entry 1 belongs"):
        verify(path)


def test_an_entry_of_another_log_is_no_entry_of_this_one(tmp_path):
    paths = tmp_path / "one.log", tmp_path / "two.log"
    for path in paths:
        written(path)
    one, two = map(lines_of, paths)
    paths[0].write_bytes(b"".join([*one[:2], two[2]]))
    with pytest.raises(AuditError, match="what is before it was altered"):
        verify(paths[0])


def test_a_crash_that_left_nothing_is_no_crash(path):
    written(path)
    recompute(path, lambda found: [found[0], {**found[1], "event": "unfinished entry"}, *found[2:]])
    with pytest.raises(AuditError, match="not what a crash left"):
        verify(path)


def test_two_logs_share_no_chain_value(tmp_path):
    head = written(tmp_path / "one.log")
    written(tmp_path / "two.log")
    with pytest.raises(AuditError):
        verify(tmp_path / "two.log", head=head)


def test_bytes_hidden_as_a_crash_are_found(path):
    """Whoever inserts bytes with the mark of a crash lacks the entry that a crash leads to."""
    written(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:2], b"hidden" + TORN_MARK + b"\n", *lines[2:]]))
    with pytest.raises(AuditError, match="not what a crash left"):
        verify(path)


def test_what_a_crash_left_cannot_be_changed_afterwards(path):
    written(path)
    path.write_bytes(path.read_bytes() + b'{"sequence":5,"ti')
    head = written(path, 1)
    verify(path, head=head)
    for changed in (b'{"sequence":5,"tj', b""):
        path.write_bytes(path.read_bytes().replace(b'{"sequence":5,"ti' + TORN_MARK + b"\n", changed))
        with pytest.raises(AuditError):
            verify(path, head=head)


def test_a_log_changed_while_it_is_open_is_not_continued(path):
    with opened(path) as log:
        log.append("session done")
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(AuditError, match="changed by somebody else"):
            log.append("session done")
        path.write_bytes(whole)
        log.append("session done")
    verify(path)


@pytest.mark.parametrize("replace", [lambda path: None, lambda path: path.touch()], ids=["moved", "replaced"])
def test_a_log_moved_while_it_is_open_is_not_continued(path, replace):
    with opened(path) as log:
        path.rename(path.with_suffix(".old"))
        replace(path)
        with pytest.raises(AuditError, match="moved or replaced"):
            log.append("session done")


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"null\n", b"[" * 60_000 + b"\n", b"\xff\n", b"a" * 200_000])
def test_what_is_no_log_is_no_log(path, data):
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(AuditError):
        verify(path)
    if data:
        with pytest.raises(AuditError):
            opened(path)
    assert path.read_bytes() == data


def test_the_end_of_a_long_file_that_is_no_log_is_noticed(path, monkeypatch):
    monkeypatch.setattr(log_module, "_TAIL_BYTES", 300)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"text\n" * 200)
    with pytest.raises(AuditError, match="end of the audit log"):
        opened(path)


@pytest.mark.parametrize("text", ["", "5", "5:", "x" * 64, f"{'0' * 63}", f"-1:{GENESIS}", f"5:{GENESIS}:"])
def test_what_is_no_head_is_refused(text):
    with pytest.raises(AuditError) as caught:
        Head.parse(text)
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_head_is_read_as_it_is_printed(path):
    head = written(path)
    assert Head.parse(f" {head}\n") == head
    assert verify(path, head=Head.parse(head.chain)).head == head
    with pytest.raises(AuditError):
        verify(path, head=Head(head.sequence - 1, head.chain))
