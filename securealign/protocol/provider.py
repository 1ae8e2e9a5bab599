"""What the provider does alike in training and inference: answering the greeting and taking the client's key."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from securealign.errors import ErrorCode, KeyStoreError, LocalProtocolError
from securealign.he.interface import Suite
from securealign.protocol import messages as m
from securealign.protocol.context import ProviderContext
from securealign.protocol.machine import SessionMachine, require
from securealign.protocol.negotiation import answer_hello, check_accept, session_id
from securealign.protocol.resume.snapshot import require_blob
from securealign.protocol.streams import UploadReceiver


class KeyHolder(Protocol):
    """What the evaluators of both kinds of session have in common."""

    def accept_key(self, key: bytes) -> None:
        """Take the public part of the client's key; raises `CiphertextError` for malformed bytes."""

    def close(self) -> None:
        """Give back keys, memory and processes; idempotent."""


class ProviderMachine(SessionMachine):
    """The provider: answers the greeting under its policy and takes the client's key."""

    is_client = False
    _evaluator: KeyHolder | None

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._suites, self._entropy, self._limits = context.suites, context.entropy, context.limits
        self._policy = context.policy
        self._reserve, self._compute_slot = context.reserve, context.compute_slot
        self._receiver: UploadReceiver | None = None
        #: Id of the session, once the parties agree.
        self.session = b""

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        match message:
            case m.KeyChunk():
                yield self._take_key(message)
            case m.Confirm():
                self._check_confirmation(message)
                yield self._confirmation()
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _greet(self, hello: m.Hello) -> tuple[m.Accept, Suite, bytes]:
        """Return the answer to a greeting, the suite and the session id; raises the reason to refuse."""
        accept, suite = answer_hello(hello, self._suites, self._entropy, self._policy)
        return accept, *self._agree(suite, hello, accept)

    def _expect_key(self, size: int, memory: int) -> None:
        """Make room for a session that takes up to `memory` bytes, and expect its key."""
        if self._reserve is not None:
            self._reserve(memory)
        self._receiver = UploadReceiver(min(size, self._limits.max_key_bytes))

    def _take_key(self, chunk: m.KeyChunk) -> m.UploadAck:
        """Add a piece of the key, hand the whole key to the suite, and return the acknowledgement."""
        receiver = require(self._receiver)
        key = receiver.add_key(chunk)
        if key is not None:
            require(self._evaluator).accept_key(key)
            self.record.keep("key", key)
            self.record.needs_snapshot = True
        return receiver.acknowledge()

    def _upload_progress(self) -> dict[str, Any] | None:
        """Return what has arrived, as fields of a state; None during the key, which is then sent again."""
        receiver = require(self._receiver)
        return None if receiver.has_part_of_key else {"uploads": receiver.received, "has_key": receiver.has_key}

    def _resume_upload(self, uploads: int, has_key: bool, blobs: Mapping[str, bytes]) -> None:
        """Go on with an upload, and hand the key to the suite again."""
        require(self._receiver).restore(uploads, has_key=has_key)
        if has_key:
            require(self._evaluator).accept_key(require_blob(blobs, "key"))

    def _require_same_policy(self, same: bool) -> None:
        """Raise `KeyStoreError` unless the session was begun under the terms that hold now."""
        if not same:
            raise KeyStoreError(
                "Policy has changed since the session began.",
                hint="Start a new session, or restore the policy until it is over.",
                code=ErrorCode.SESSION_UNKNOWN,
            )

    def _agreed(self, accept: m.Accept, hello: m.Hello) -> tuple[Suite, bytes]:
        """Return the suite and the session id that an earlier answer to a greeting settled on."""
        return self._agree(check_accept(accept, self._suites), hello, accept)

    def _agree(self, suite: Suite, hello: m.Hello, accept: m.Accept) -> tuple[Suite, bytes]:
        self.suite = suite.info
        self.session = session_id(self.kind, hello.nonce, accept.nonce)
        return suite, self.session
