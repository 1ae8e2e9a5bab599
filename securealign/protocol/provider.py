"""What the provider does alike in both phases: answering the greeting under its policy, and taking the client's key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from securealign.errors import ErrorCode, KeyStoreError
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.protocol.messages import Accept, Hello, KeyChunk, UploadAck
from securealign.protocol.negotiation import answer_hello, check_accept, session_id
from securealign.protocol.party import Codec, Observer, Party, kept, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.streams import Intake


class KeyHolder(Protocol):
    """An evaluator of either job, as far as the key is concerned."""

    def accept_key(self, key: bytes) -> None:
        """Take the public part of the client's key; raises `CiphertextError` for malformed bytes."""
        ...


#: Called with an amount before it is spent; raises the reason to refuse.
Grant = Callable[[int], None]


class ProviderParty(Party):
    """Party A: answers the greeting under its policy and takes the client's key.

    `reserve` is asked for the bytes that the session takes at most, before they are allocated. `turn` is entered for
    work that takes long, so that whoever serves many sessions lets little of it run at once, and short work pass.
    """

    is_client = False

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        entropy: Entropy,
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        reserve: Grant | None = None,
        turn: AbstractContextManager[object] | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(codec, observer)
        self._turn = turn or nullcontext()
        self._suites = suites
        self._entropy = entropy
        self._policy = policy or Policy()
        self._limits = limits or Limits()
        self._reserve = reserve
        self._intake: Intake | None = None
        #: Id of the session, once the parties agree.
        self.session = b""

    def _greet(self, hello: Hello) -> tuple[Accept, Suite, bytes]:
        """Return the answer to a greeting, the suite and the session id; raises the reason to refuse."""
        accept, suite = answer_hello(
            hello,
            self._suites,
            self._entropy,
            allow_unencrypted=self._policy.allow_unencrypted,
            require_function_private=self._policy.require_function_private,
        )
        return accept, *self._agree(suite, hello, accept)

    def _expect_key(self, size: int, memory: int) -> None:
        """Make room for a session that takes up to `memory` bytes, and expect its key."""
        if self._reserve is not None:
            self._reserve(memory)
        self._intake = Intake(min(size, self._limits.max_key_bytes))

    def _take_key(self, chunk: KeyChunk, holder: KeyHolder | None) -> UploadAck:
        """Add a piece of the key, hand the whole key to its holder, and return the acknowledgement."""
        intake = set_up(self._intake)
        key = intake.add_key(chunk)
        if key is not None:
            set_up(holder).accept_key(key)
            self._keep("key", key)
            self.record_due = True
        return intake.acknowledge()

    def _save_intake(self) -> dict[str, Any] | None:
        """Return what `_load_intake` needs; None while part of a key has arrived, which is then sent again."""
        intake = set_up(self._intake)
        return None if intake.has_part_of_key else {"uploads": intake.received, "has_key": intake.has_key}

    def _load_intake(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes], holder: KeyHolder) -> None:
        """Go on with an upload, and hand the key to its holder again."""
        set_up(self._intake).restore(fields["uploads"], has_key=fields["has_key"])
        if fields["has_key"]:
            holder.accept_key(kept(blobs, "key"))

    def _require_same_policy(self, same: bool) -> None:
        """Raise `KeyStoreError` unless the session was begun under the terms that hold now."""
        if not same:
            raise KeyStoreError(
                "Policy has changed since the session began.",
                hint="Start a new session, or restore the policy until it is over.",
                code=ErrorCode.SESSION_UNKNOWN,
            )

    def _agreed(self, accept: Accept, hello: Hello) -> tuple[Suite, bytes]:
        """Return the suite and the session id that an earlier answer to a greeting settled on."""
        return self._agree(check_accept(accept, self._suites), hello, accept)

    def _agree(self, suite: Suite, hello: Hello, accept: Accept) -> tuple[Suite, bytes]:
        self.suite = suite.info
        self.session = session_id(self.name, hello.nonce, accept.nonce)
        return suite, self.session
