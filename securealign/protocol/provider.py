"""What the provider does alike in both phases: answering the greeting under its policy, and taking the client's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.protocol.messages import Accept, Hello, KeyChunk, UploadAck
from securealign.protocol.negotiation import answer_hello, session_id
from securealign.protocol.party import Codec, Observer, Party, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.streams import Intake


class KeyHolder(Protocol):
    """An evaluator of either job, as far as the key is concerned."""

    def accept_key(self, key: bytes) -> None:
        """Take the public part of the client's key; raises `CiphertextError` for malformed bytes."""
        ...


class ProviderParty(Party):
    """Party A: answers the greeting under its policy and takes the client's key."""

    is_client = False

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        entropy: Entropy,
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(codec, observer)
        self._suites = suites
        self._entropy = entropy
        self._policy = policy or Policy()
        self._limits = limits or Limits()
        self._intake: Intake | None = None

    def _greet(self, hello: Hello) -> tuple[Accept, Suite, bytes]:
        """Return the answer to a greeting, the suite and the session id; raises the reason to refuse."""
        accept, suite = answer_hello(
            hello,
            self._suites,
            self._entropy,
            allow_unencrypted=self._policy.allow_unencrypted,
            require_function_private=self._policy.require_function_private,
        )
        return accept, suite, session_id(self.name, hello.nonce, accept.nonce)

    def _expect_key(self, size: int) -> None:
        self._intake = Intake(min(size, self._limits.max_key_bytes))

    def _take_key(self, chunk: KeyChunk, holder: KeyHolder | None) -> UploadAck:
        """Add a piece of the key, hand the whole key to its holder, and return the acknowledgement."""
        intake = set_up(self._intake)
        key = intake.add_key(chunk)
        if key is not None:
            set_up(holder).accept_key(key)
        return intake.acknowledge()
