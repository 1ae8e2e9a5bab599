"""Both parties in one process, exchanging the same bytes as over a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from securealign.errors import LocalProtocolError, PeerAborted
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.protocol.context import ClientContext, Codec, ProviderContext
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.rules import Policy
from securealign.transport.meter import Meter


class InProcessLink:
    """Carries frames between a client and a provider machine."""

    def __init__(self, client: SessionMachine, provider: SessionMachine, meter: Meter) -> None:
        self._client = client
        self._provider = provider
        self._meter = meter

    def drive(self, frames: Sequence[bytes], until: Callable[[], bool]) -> None:
        """Deliver the client's `frames` and everything that follows from them, after which `until()` must hold.

        Raises the error of a session that aborts.
        """
        pending = deque((True, frame) for frame in frames)
        while pending:
            to_provider, frame = pending.popleft()
            receiver = self._provider if to_provider else self._client
            with self._meter.timed("provider" if to_provider else "client"):
                # A long reply is made whole: in one process, its parts are kept here or there.
                replies = list(receiver.receive(frame))
            pending.extend((not to_provider, reply) for reply in replies)
        errors = [party.error for party in (self._provider, self._client) if party.error is not None]
        # The party that found the fault names it best; its peer only knows the code.
        for error in sorted(errors, key=lambda error: isinstance(error, PeerAborted)):
            raise error
        if not until():
            raise LocalProtocolError("The session stalled: neither party has anything to say.")


def in_process_contexts(
    codec: Codec, suite: Suite, entropy: Entropy, meter: Meter, *, policy: Policy
) -> tuple[ClientContext, ProviderContext]:
    """Return the contexts of client and provider in one process, where a suite without encryption is allowed."""
    shared: dict[str, Any] = {"codec": codec, "suites": [suite], "entropy": entropy}
    client = ClientContext(**shared, allow_unencrypted=True, observer=meter.observer("client"))
    policy = replace(policy, allow_unencrypted=True)
    return client, ProviderContext(**shared, policy=policy, observer=meter.observer("provider"))
