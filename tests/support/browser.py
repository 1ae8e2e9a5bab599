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

#: Contrast of every text with the page behind it, as WCAG defines it.
CONTRAST = """() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const ratio = (one, other) => {
    const [more, less] = [light(one), light(other)].sort((p, q) => q - p);
    return (more + 0.05) / (less + 0.05);
  };
  return [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .filter(e => e.getClientRects().length && !e.closest('title, desc'))
    .map(e => {
      const style = getComputedStyle(e);
      return [ratio(parse(e.closest('svg') ? style.fill : style.color), behind(e)), e.textContent.slice(0, 40)];
    })
    .filter(([value]) => value < 4.5);
}"""

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
