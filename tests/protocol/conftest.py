from collections.abc import Callable

import pytest

from securealign.he import plaintext
from securealign.protocol import streams
from securealign.protocol.training import client


@pytest.fixture
def small_chunks(monkeypatch) -> Callable[[int], None]:
    """Cut byte strings into chunks of so many bytes from now on, so that small matrices make many messages."""

    def cut(size: int) -> None:
        for module in (streams, client, plaintext):
            monkeypatch.setattr(module, "MAX_CHUNK_BYTES", size)

    return cut
