"""Every failure has a stable number, a sentence that a peer may see, and an exit code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from securealign import errors
from securealign.errors import (
    ErrorCode,
    ExitCode,
    FileError,
    InputError,
    PeerAborted,
    SecurealignError,
    ShapeError,
    did_you_mean,
)

#: Numbers that other releases know. One may be added, none changed or given to another code.
NUMBERS = {
    "INTERNAL": 1,
    "VERSION_UNSUPPORTED": 2,
    "SUITE_UNKNOWN": 3,
    "SUITE_REFUSED": 4,
    "PARAMETERS_MISMATCH": 5,
    "DATASET_MISMATCH": 6,
    "SHAPE_MISMATCH": 7,
    "TOO_FEW_ROWS": 8,
    "LIMIT_EXCEEDED": 9,
    "FRAME_MALFORMED": 10,
    "FRAME_TOO_LARGE": 11,
    "CIPHERTEXT_MALFORMED": 12,
    "COEFFICIENT_OUT_OF_RANGE": 13,
    "UNEXPECTED_MESSAGE": 14,
    "SEQUENCE_BROKEN": 15,
    "SLOT_REUSED": 16,
    "QUERY_BUDGET_EXHAUSTED": 17,
    "TRANSCRIPT_MISMATCH": 18,
    "WRONG_ROLE": 19,
    "PEER_UNTRUSTED": 20,
    "PEER_UNREACHABLE": 21,
    "CONNECTION_LOST": 22,
    "DEADLINE_EXCEEDED": 23,
    "SERVER_BUSY": 24,
    "CANCELLED": 25,
    "CONFIGURATION_INVALID": 26,
    "INPUT_INVALID": 27,
    "NON_FINITE_INPUT": 28,
    "FILE_INVALID": 29,
    "PLAN_INFEASIBLE": 30,
    "SUITE_UNAVAILABLE": 31,
    "DEPENDENCY_MISSING": 32,
    "ASSET_UNAVAILABLE": 33,
    "NOT_SERVED": 34,
    "RANK_BUDGET_EXHAUSTED": 35,
    "SESSION_UNKNOWN": 36,
    "SESSION_ROLLED_BACK": 37,
    "RATE_LIMITED": 38,
    "MEMORY_EXHAUSTED": 39,
    "CERTIFICATE_REVOKED": 40,
    "KEY_UNUSABLE": 41,
    "PASSPHRASE_WRONG": 42,
    "STORE_DAMAGED": 43,
    "STORE_LOCKED": 44,
    "AUDIT_BROKEN": 45,
    "PRIVACY_BUDGET_EXHAUSTED": 46,
    "PRIVACY_REFUSED": 47,
    "OUTPUT_REFUSED": 48,
}
EACH_CODE = pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.name)
HELP = dict(
    part.split("\n", 1)
    for part in (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8").split("\n## ")[1:]
)
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SecurealignError)]


def test_numbers_never_change():
    assert {code.name: code.number for code in ErrorCode if code.name in NUMBERS} == NUMBERS


def test_numbers_are_unique_and_fit_the_wire():
    numbers = [code.number for code in ErrorCode]
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2**31 for number in numbers)


@EACH_CODE
def test_a_sentence_is_one_that_a_peer_may_read(code):
    assert re.fullmatch(r"[A-Z][\x20-\x7e]*\.", code.sentence)
    assert len(code.sentence) <= 120
    assert not re.search(r"\w_\w|\(|\)|Error|Exception|None|self\b|0x|/|\\|\{|%", code.sentence)


@EACH_CODE
def test_a_code_has_an_exit_code_other_than_success(code):
    assert isinstance(code.exit_code, ExitCode)
    assert code.exit_code is not ExitCode.OK
    assert (code.exit_code is ExitCode.INTERNAL) == (code is ErrorCode.INTERNAL)


@EACH_CODE
def test_a_code_is_found_by_its_number(code):
    assert ErrorCode.from_number(code.number) is code


@pytest.mark.parametrize("number", [0, -1, 999, 2**31 - 1])
def test_a_number_of_another_release_is_an_internal_fault(number):
    assert ErrorCode.from_number(number) is ErrorCode.INTERNAL


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not PeerAborted])
def test_an_error_carries_message_hint_and_code(kind):
    assert str(kind("What happened.")) == "What happened."
    error = kind("What happened.", hint="What to do.")
    assert str(error) == "What happened. What to do."
    assert (error.message, error.hint, error.code) == ("What happened.", "What to do.", kind.default_code)
    assert kind("What happened.", code=ErrorCode.SERVER_BUSY).code is ErrorCode.SERVER_BUSY


@EACH_CODE
def test_the_peers_reason_is_quoted(code):
    error = PeerAborted(code)
    assert error.code is code
    assert str(error) == f"The peer ended the session: {code.sentence}"


def test_the_help_page_has_a_section_for_every_code_in_order():
    assert list(HELP) == [code.name for code in sorted(ErrorCode, key=lambda code: code.number)]


@EACH_CODE
def test_the_help_page_says_what_happened_and_what_to_do(code):
    text = " ".join(HELP[code.name].split())
    assert text.startswith(f"> {code.sentence} ")
    assert f"exit code {int(code.exit_code)}" in text
    assert "**What to do:** " in text


def test_all_errors_have_one_root():
    roots = {kind: kind.__bases__ for kind in CLASSES if kind is not SecurealignError}
    assert {roots.pop(FileError), roots.pop(ShapeError)} == {(InputError,)}
    assert set(roots.values()) == {(SecurealignError,)}
    assert SecurealignError.__bases__ == (Exception,)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_documented(kind):
    assert kind.__doc__


def test_a_wrong_name_is_answered_with_the_nearest_known_one():
    assert did_you_mean("Lwe-182", ["plaintext", "lwe-128"]) == "Did you mean 'lwe-128'? "
    assert did_you_mean("rot13", ["plaintext", "lwe-128"]) == ""
