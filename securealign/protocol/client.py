"""What the client does alike in both phases: greeting with its suites, and uploading under the provider's window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.protocol.messages import Accept, Message, UploadAck
from securealign.protocol.negotiation import check_accept, make_hello, session_id
from securealign.protocol.party import Codec, Observer, Party, set_up
from securealign.protocol.randomness import SessionEntropy
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
    ) -> None:
        super().__init__(codec, observer)
        self._suites = suites
        self._entropy = entropy  # bound to the session once it is agreed on
        self._limits = limits or Limits()
        self._hello = make_hello(suites, entropy, allow_unencrypted=allow_unencrypted)
        #: The parameter set that the provider chose.
        self.suite_name = ""
        self._uploader: Uploader | None = None

    def _agree(self, accept: Accept) -> tuple[Suite, bytes]:
        """Return the suite that the provider chose and the session id; raises when it was not offered."""
        suite = check_accept(accept, self._suites)
        self.suite_name = suite.info.parameter_set
        session = session_id(self.name, self._hello.nonce, accept.nonce)
        self._entropy = SessionEntropy(self._entropy, session)
        return suite, session

    def _upload(self, messages: Iterator[Message], window: int) -> Iterator[Message]:
        """Begin an upload and yield what its window has room for."""
        self._uploader = Uploader(messages, min(window, self._limits.upload_window))
        yield from self._uploader.ready()

    def _continue_upload(self, message: UploadAck) -> Iterator[Message]:
        uploader = set_up(self._uploader)
        uploader.acknowledge(message.received)
        yield from uploader.ready()
