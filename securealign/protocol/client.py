"""What the client does alike in both phases: greeting with its suites, and uploading under the provider's window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.protocol.messages import Accept, Message, UploadAck
from securealign.protocol.negotiation import check_accept, make_hello, session_id
from securealign.protocol.party import Codec, Observer, Party, set_up
from securealign.protocol.randomness import FreshRoot, Root, SessionEntropy
from securealign.protocol.streams import Uploader


class ClientParty(Party):
    """Party B: greets with its suites and uploads under the provider's window."""

    is_client = True

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        entropy: Entropy,
        *,
        limits: Limits | None = None,
        allow_unencrypted: bool = False,
        observer: Observer | None = None,
        root: Root | None = None,
    ) -> None:
        super().__init__(codec, observer)
        self._suites = suites
        self._root = root or FreshRoot(entropy)
        self._limits = limits or Limits()
        self._hello = make_hello(suites, entropy, allow_unencrypted=allow_unencrypted)
        #: Whether the client's side can be made again after its process has died.
        self.restorable = False
        #: Names the session before the provider has answered, 32 bytes.
        self.nonce = self._hello.nonce
        self._uploader: Uploader | None = None

    def _agree(self, accept: Accept) -> tuple[Suite, bytes, SessionEntropy]:
        """Return the provider's choice of suite, the session id and its randomness; raises for one not offered."""
        suite = check_accept(accept, self._suites)
        self.suite = suite.info
        self.restorable = suite.info.restorable
        session = session_id(self.name, self.nonce, accept.nonce)
        return suite, session, SessionEntropy.of(self._root, session)

    def _upload(self, messages: Iterator[Message], window: int, *, sent: int = 0, acknowledged: int = 0) -> Uploader:
        """Begin an upload, or go on with one, under the smaller of both parties' windows."""
        window = min(window, self._limits.upload_window)
        self._uploader = Uploader(messages, window, sent=sent, acknowledged=acknowledged)
        return self._uploader

    def _save_upload(self) -> dict[str, int]:
        uploader = set_up(self._uploader)
        return {"uploaded": uploader.sent, "acknowledged": uploader.acknowledged}

    def _continue_upload(self, message: UploadAck) -> Iterator[Message]:
        uploader = set_up(self._uploader)
        uploader.acknowledge(message.uploads)
        yield from uploader.ready()
