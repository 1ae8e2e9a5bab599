"""Suites by name, and why one is unavailable."""

from __future__ import annotations

import pytest

from securealign.errors import ErrorCode, ExitCode, SuiteError
from securealign.he import registry
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, Entry, get_suite


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(SuiteError) as caught:
        get_suite("rot13")
    assert caught.value.code is ErrorCode.SUITE_UNKNOWN
    assert "'rot13'" in caught.value.message
    assert all(name in caught.value.hint for name in REGISTRY)


@pytest.mark.parametrize("name", ["", "LWE", " lwe", "lwe-"])
def test_names_are_exact(name):
    with pytest.raises(SuiteError, match="no suite named"):
        get_suite(name)


def test_a_suite_that_cannot_run_here_says_why(monkeypatch):
    def make():
        raise AssertionError("an unavailable suite is never made")

    entry = Entry(make, "a suite", unavailable=lambda: "its wheel is for Python 3.10.")
    monkeypatch.setattr(registry, "REGISTRY", {**REGISTRY, "other": entry})
    with pytest.raises(SuiteError, match=r"'other' cannot run here: its wheel is for Python 3\.10\.") as caught:
        get_suite("other")
    assert caught.value.code is ErrorCode.SUITE_UNAVAILABLE
    assert caught.value.code.exit_code is ExitCode.UNAVAILABLE
    assert get_suite("plaintext").info.name == "plaintext"


def test_the_default_encrypts_and_is_a_parameter_set_under_a_shorter_name():
    info = get_suite(DEFAULT_SUITE).info
    assert info.encrypts
    assert get_suite(info.parameter_set).info == info


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        REGISTRY["mine"] = REGISTRY["lwe"]


def test_parameter_sets_are_told_apart_by_their_digests():
    digests = {name: REGISTRY[name].make().info.parameter_digest for name in REGISTRY if name != DEFAULT_SUITE}
    assert len(set(digests.values())) == len(digests)
