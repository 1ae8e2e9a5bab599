"""Libraries of models without their bars and log lines: what matters is raised, and progress goes to the caller."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from securealign.optional import require

_LIBRARIES = ("transformers", "sentence_transformers", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep these libraries silent inside the block, and as talkative as before after it."""
    hub = require("huggingface_hub.utils", "A model")
    transformers = sys.modules.get("transformers.utils.logging")  # which has a switch of its own, if it is loaded
    levels = {logger: logger.level for logger in map(logging.getLogger, _LIBRARIES)}
    hub_bars = not hub.are_progress_bars_disabled()
    bars = transformers is not None and transformers.is_progress_bar_enabled()
    for logger in levels:
        logger.setLevel(logging.ERROR)
    hub.disable_progress_bars()
    if transformers and bars:
        transformers.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        if transformers and bars:
            transformers.enable_progress_bar()
        if hub_bars:
            hub.enable_progress_bars()
