"""A client that is killed and started again in this process: its state lies in a folder, and the provider stays."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.client.connection import OpenClient
from securealign.client.inputs import open_inputs
from securealign.errors import ErrorCode, KeyStoreError, PeerAborted, RemoteProtocolError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.listing import HeadListing, Listing
from securealign.protocol.messages import UNNAMED_HEAD, OutputMode
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.rules import Policy
from securealign.protocol.resume.session import Opening, ResumableProvider
from securealign.protocol.resume.snapshot import restore
from securealign.settings import load_settings
from securealign.storage.opening import State
from securealign.wire import InferenceCodec

from .journal import MemoryJournal
from .machines import inference_provider
from .pair import PLAINTEXT
from .peers import open_cheaply

#: Dimensions of the client and of the provider.
DIM_B, DIM_A = 3, 4
CLASSES = ("red", "green", "blue")
CONFIG = """
[provider]
certificates = "certs"
[public]
texts = "public.jsonl"
embeddings = "public.npy"
"""


class Killed(BaseException):
    """The process is gone."""


class CheapSettings(ClientSettings):
    """Settings whose key store costs no time."""

    def open_state(self, section: Any) -> State:
        return open_cheaply(self.path(section.folder))


class LetterEncoder:
    """Embeds a text by its length and its first letters."""

    name = fingerprint = "letters"
    dimension = DIM_B

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Any, *, progress: Any = None) -> Any:
        self.encoded += texts
        return np.array([[len(text), *((text + "\0\0").encode()[:2])] for text in texts], dtype=np.float32) / 50


@dataclass
class StreamSite:
    """The folder of a client, and the provider's side."""

    folder: Path
    suite: Suite = PLAINTEXT
    policy: Policy = field(default_factory=lambda: Policy(allow_unencrypted=True))
    head_digest: bytes = UNNAMED_HEAD
    #: What the client was charged, over all sessions.
    charged: dict[str, float] = field(default_factory=dict)
    sessions: dict[bytes, MemoryJournal] = field(default_factory=dict)
    #: Called before a frame reaches the provider.
    on_frame: Callable[[], object] = lambda: None
    encoder: LetterEncoder = field(default_factory=LetterEncoder)
    #: What the provider lists of its head, nothing if it cannot be asked.
    offer: dict[str, Any] = field(default_factory=dict)
    lines_of_progress: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        random = np.random.default_rng(3)
        self.head = LinearHead(random.normal(size=(DIM_A, len(CLASSES))), random.normal(size=len(CLASSES)), CLASSES)
        self.map = AlignmentMap(random.normal(size=(DIM_B, DIM_A)), random.normal(size=DIM_A), {"space": "00" * 16})
        self.map.save_pretrained(self.folder / "alignment")
        (self.folder / "client.toml").write_text(CONFIG)

    def settings(self, *overrides: str) -> ClientSettings:
        return load_settings(CheapSettings, self.folder / "client.toml", list(overrides))

    def run(
        self,
        source: Any,
        output: Path | None = None,
        *,
        overrides: tuple[str, ...] = (),
        overwrite: bool = False,
        text_field: str = "text",
        limit: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Classify as the command does."""
        client = StreamClient(self, self.settings(*overrides))
        chosen = client.options(**options)

        def inputs():
            return open_inputs(source, text_field=text_field, keep=chosen.columns, limit=limit)

        with client.open_results(output, str(source), chosen, overwrite=overwrite) as results:
            return client.classify(inputs, results, chosen, lambda *done: self.lines_of_progress.append(done))

    def labels(self, texts: list[str]) -> list[str]:
        """Return the labels in clear."""
        return self.head.predict(self.map.apply(LetterEncoder().encode(texts)))

    def labels_of(self, embeddings: Any) -> list[str]:
        return self.head.predict(self.map.apply(embeddings))

    @property
    def queries_charged(self) -> float:
        return self.charged.get("peer/queries", 0)

    def connect(self, *overrides: str) -> OpenClient:
        settings = self.settings(*overrides)
        return OpenClient(settings, core=StreamClient(self, settings))

    def provider(self) -> InferenceProvider:
        return inference_provider(
            [self.suite],
            self.head,
            policy=self.policy,
            head_digest=self.head_digest,
            account=QueryAccount.of("peer", store=self.charged),
        )


class StreamClient(Client):
    """A client of a site, without a network."""

    def __init__(self, site: StreamSite, settings: ClientSettings) -> None:
        # Without certificates, which nothing here needs.
        self._settings, self._folder = settings, site.folder / "alignment"
        self._site = site
        self._suites = [site.suite]
        self._entropy = SystemEntropy()
        self._allow_unencrypted = True
        self._warned = False
        self._encoder = site.encoder

    def _encoder_fingerprint(self) -> str:
        return ""

    def offers(self, head: str = "") -> Listing:
        site = self._site
        output = OutputMode.LOGITS if site.policy.labels is None else OutputMode.LABEL
        listed = HeadListing(
            name="default",
            classes=len(CLASSES),
            class_names=CLASSES if head else (),
            output=output,
            provider_dim=DIM_A,
            space=bytes(16),
            space_name="default",
            head_digest=site.head_digest,
            queries_left=site.policy.max_queries - int(site.queries_charged),
            bits_left=None,
            max_slots=1024,
            answer_bits=64,
            abstains=False,
        )
        return Listing(heads=(listed,), spaces=())

    def _offered_head(self) -> Any:
        return replace(self.offers().heads[0], **self._site.offer) if self._site.offer else None

    @contextmanager
    def _link(self, method: str, endpoint: Any, meter: Any, *, sleep: Any = None) -> Iterator[StreamLink]:
        yield StreamLink(self._site, endpoint)


class StreamLink:
    """Carries frames to the provider of a site, which knows all sessions that were begun."""

    def __init__(self, site: StreamSite, endpoint: Any) -> None:
        self._site = site
        self._endpoint = endpoint
        self._provider: ResumableProvider | None = None

    def drive(self, frames: Any, until: Callable[[], bool]) -> None:
        client, up, down = self._endpoint.machine, deque(), deque()
        up.extend(self._endpoint.send(frames) if frames else [])
        if self._provider is None and not frames:
            first, *down = self._open(self._endpoint.resume())
            up.extend(self._endpoint.resumed(first))
            down = deque(down)
        while up or down:
            while up:
                self._site.on_frame()
                frame = up.popleft()
                down.extend(self._open(frame) if self._provider is None else self._provider.receive(frame))
            while down:
                up.extend(self._endpoint.receive(down.popleft()))
        if client.error is not None:
            raise client.error
        assert until(), "the session stalled"

    def _open(self, frame: bytes) -> list[bytes]:
        opening = Opening.of(InferenceCodec(), frame)
        assert opening is not None
        party = self._site.provider()
        if opening.received is None:
            journal = self._site.sessions[opening.nonce] = MemoryJournal()
            self._provider = ResumableProvider(party, journal)
            return self._provider.receive(frame)
        journal = self._site.sessions.get(opening.nonce)
        snapshot = journal.recover() if journal is not None else None
        if journal is None or snapshot is None:
            raise PeerAborted(ErrorCode.SESSION_UNKNOWN)
        try:
            restore(party, snapshot)
        except (KeyStoreError, RemoteProtocolError) as error:
            raise PeerAborted(error.code) from error
        self._provider = ResumableProvider(party, journal)
        return list(self._provider.resume(opening.received))


def write_jsonl(path: Path, count: int, **fields: Any) -> list[str]:
    """Write texts with an id each, some of them twice; returns the texts."""
    texts = [f"{'abcdefgh'[index % 8]}text {index % 50}" for index in range(count)]
    lines = [json.dumps({"id": f"n{index}", "text": text} | fields) for index, text in enumerate(texts)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return texts


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return results written as JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
