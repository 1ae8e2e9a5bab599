"""What the client does alike in training and inference: greeting with its suites, and uploading in a window."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from securealign.errors import LocalProtocolError
from securealign.he.interface import CovarianceEncryptor, HeadEncryptor, Suite
from securealign.protocol import messages as m
from securealign.protocol.context import ClientContext
from securealign.protocol.machine import SessionMachine, require
from securealign.protocol.negotiation import check_accept, make_hello, session_id
from securealign.protocol.randomness import FreshRoot, SessionEntropy
from securealign.protocol.resume.snapshot import MachineState
from securealign.protocol.states import Direction
from securealign.protocol.streams import Uploader


class ClientMachine(SessionMachine):
    """The client: greets with its suites and uploads as far as the provider's window allows."""

    is_client = True
    _encryptor: CovarianceEncryptor | HeadEncryptor | None

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._suites, self._limits = context.suites, context.limits
        self._root = context.root or FreshRoot(context.entropy)
        self._hello = make_hello(self._suites, context.entropy, allow_unencrypted=context.allow_unencrypted)
        #: Whether another process can restore the client's side of the suite.
        self.restorable = False
        #: Names the session before the provider has answered, 32 bytes.
        self.nonce = self._hello.nonce
        self._uploader: Uploader | None = None
        #: SHA-256 of the Accept as received.
        self._accept_digest = b""

    def resume(self, state: MachineState, blobs: Mapping[str, bytes]) -> None:
        """Go on from a state with its recorded blobs."""
        self._accept_digest = hashlib.sha256(blobs.get("accept", b"")).digest()
        super().resume(state, blobs)

    def _note(self, direction: Direction, message: m.Message, data: bytes) -> None:
        if isinstance(message, m.TrainingAccept | m.InferenceAccept):
            self._accept_digest = hashlib.sha256(data).digest()
        super()._note(direction, message, data)

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        match message:
            case m.TrainingAccept() | m.InferenceAccept():
                self._begin(message)
                yield from self._upload(message.window).ready()
            case m.UploadAck():
                uploader = require(self._uploader)
                uploader.acknowledge(message.uploads)
                yield from uploader.ready()
            case m.Confirm():
                self._check_confirmation(message)
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _close(self) -> None:
        if self._encryptor is not None:
            self._encryptor.close()

    @abstractmethod
    def _begin(self, message: Any) -> None:  # noqa: ANN401 - the Accept of its kind
        """Check what the provider accepted and make this side of the suite."""

    @abstractmethod
    def _uploads(self, sent: int) -> Iterator[m.Message]:
        """Yield the messages of the upload, key first, after the first `sent` of them."""

    def _agree(self, accept: m.Accept) -> tuple[Suite, bytes, SessionEntropy]:
        """Return the provider's choice of suite, the session id and its randomness; raises for one not offered."""
        suite = check_accept(accept, self._suites)
        self.suite = suite.info
        self.restorable = suite.info.restorable
        session = session_id(self.kind, self.nonce, accept.nonce)
        return suite, session, SessionEntropy.of(self._root, session, self._accept_digest)

    def _upload(self, window: int, *, sent: int = 0, acknowledged: int = 0) -> Uploader:
        """Begin an upload, or go on with one, under the smaller of both parties' windows."""
        window = min(window, self._limits.upload_window)
        self._uploader = Uploader(self._uploads(sent), window, sent=sent, acknowledged=acknowledged)
        return self._uploader

    def _upload_progress(self) -> dict[str, Any]:
        """Return the messages uploaded and acknowledged, as fields of a state."""
        uploader = require(self._uploader)
        return {"uploaded": uploader.sent, "acknowledged": uploader.acknowledged}
