"""A Chromium for tests: the one that the machine has; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

#: Set where the tests in a browser must not be skipped.
REQUIRED = "SECUREALIGN_REQUIRE_BROWSER"
#: Names the program, for a machine that has it elsewhere.
CHOSEN = "SECUREALIGN_CHROMIUM"

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--no-first-run",
)


@contextmanager
def chromium():
    """Yield a browser; skip the test, with the reason, when the machine has none and none is required."""
    found = os.environ.get(CHOSEN) or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        _missing(f"no Chromium found: install it (Debian: apt-get install chromium) or name it in {CHOSEN}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: install securealign[dev]")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()


def _missing(reason):
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, and {reason}")
    pytest.skip(f"NOT TESTED IN A BROWSER: {reason}")
