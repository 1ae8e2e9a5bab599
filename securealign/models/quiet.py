"""Libraries of models without their bars and log lines: what matters is raised, and progress goes to the caller."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from securealign.optional import require

_LIBRARIES = ("transformers", "sentence_transformers", "huggingface_hub")


@contextmanager
def muted(names: Iterable[str], level: int = logging.WARNING) -> Iterator[None]:
    """Keep records below `level` of the named loggers, and of those under them, from being logged in the block."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, before in levels.items():
            logger.setLevel(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep these libraries silent inside the block, and as talkative as before after it."""
    hub = require("huggingface_hub.utils", "A model")
    transformers = sys.modules.get("transformers.utils.logging")  # which has a switch of its own, if it is loaded
    hub_bars = not hub.are_progress_bars_disabled()
    bars = transformers is not None and transformers.is_progress_bar_enabled()
    hub.disable_progress_bars()
    if transformers and bars:
        transformers.disable_progress_bar()
    try:
        with muted(_LIBRARIES, logging.ERROR):
            yield
    finally:
        if transformers and bars:
            transformers.enable_progress_bar()
        if hub_bars:
            hub.enable_progress_bars()
