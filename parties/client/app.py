"""Composes the client from its settings: align once, classify often."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from parties.client.config import ClientSettings
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.secure import ClientProblem
from securealign.commands import Report
from securealign.data import dataset_digest, load_dataset
from securealign.errors import ConfigurationError, ErrorCode
from securealign.he.entropy import SystemEntropy
from securealign.he.registry import get_suite
from securealign.keys.certificates import Role, load_bundle
from securealign.matrices import FloatMatrix
from securealign.models import Encoder, open_encoder
from securealign.models.source import encode_cached, load_paired
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.party import Event, Party
from securealign.protocol.training.client import TrainingClient
from securealign.transport.grpc_client import GrpcLink, is_loopback
from securealign.transport.grpc_server import INFERENCE_METHOD, TRAINING_METHOD
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec


@dataclass(frozen=True)
class Classification:
    """Labels and probabilities of the most likely class (m,), logits (m, K), and figures of the session."""

    labels: list[str]
    scores: npt.NDArray[np.float64]
    logits: FloatMatrix
    figures: dict[str, Any]


class Client:
    """What the client owns, and the sessions it opens."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        provider = settings.provider
        self._bundle = load_bundle(settings.path(provider.certificates), Role.CLIENT)
        self._suites = [get_suite(name) for name in provider.suites]
        self._entropy = SystemEntropy()
        self._allow_unencrypted = is_loopback(provider.address)
        self._folder = settings.path(settings.alignment.folder)

    def align(self, embedding: Report, uploading: Report) -> dict[str, Any]:
        """Fit the map with the provider, save it, and return the figures of the session."""
        if self._settings.public is None:
            raise ConfigurationError("There are no public texts to align on.", hint="Add a section [public].")
        texts = load_dataset(self._settings.path_or_name(self._settings.public.texts)).texts
        if self._settings.public.embeddings is not None:
            embeddings = load_paired(self._settings.path(self._settings.public.embeddings), texts)
        else:
            embeddings = encode_cached(self._encoder, texts, embedding)
        meter = Meter(counted="client")
        with meter.timed("client", "solve"):
            problem = ClientProblem(embeddings, self._settings.alignment.ridge)
        digest = dataset_digest(texts)
        count = meter.observer("client")

        def observe(event: Event) -> None:
            count(event)
            uploading(*client.progress)

        client = TrainingClient(
            TrainingCodec(),
            self._suites,
            problem.rows,
            digest,
            self._entropy,
            allow_unencrypted=self._allow_unencrypted,
            observer=observe,
        )
        with self._link(TRAINING_METHOD, client, meter) as link:
            product = train(link, client, meter)
        with meter.timed("client", "solve"):
            solved = problem.solve(product)
        origin = {"encoder": self._encoder_fingerprint(), "dataset_digest": digest.hex(), "suite": client.suite_name}
        AlignmentMap(solved.weight, solved.bias, {**solved.metadata, **origin}).save_pretrained(self._folder)
        return {
            "alignment": str(self._folder),
            "suite": client.suite_name,
            "rows": len(texts),
            "d_a": solved.weight.shape[1],
            "d_b": solved.weight.shape[0],
            "ridge": solved.metadata["ridge"],
            "pid": os.getpid(),
            "stats": meter.stats().as_dict(),
        }

    def encode(self, texts: Sequence[str], embedding: Report, *, cache: bool) -> npt.NDArray[np.floating]:
        """Return embeddings of private texts; `cache` keeps them on disk, readable by their owner alone."""
        encoder = self._encoder
        return encode_cached(encoder, texts, embedding) if cache else encoder.encode(texts, progress=embedding)

    def classify(self, embeddings: npt.NDArray[np.floating], batch: int, classifying: Report) -> Classification:
        """Map embeddings (m, d_B), have them classified under encryption, `batch` at a time."""
        alignment = AlignmentMap.from_pretrained(self._folder)
        self._check_encoder(alignment)
        queries = alignment.apply(embeddings)
        meter = Meter(counted="client")
        client = InferenceClient(
            InferenceCodec(),
            self._suites,
            queries.shape[1],
            self._entropy,
            slots=self._settings.inference.pool_slots,
            allow_unencrypted=self._allow_unencrypted,
            observer=meter.observer("client"),
        )
        blocks, online = [], []
        with self._link(INFERENCE_METHOD, client, meter) as link:
            session = InferenceSession(link, client, meter)
            for first in range(0, len(queries), batch):
                session.await_slots()
                start = time.perf_counter()
                blocks.append(session.logits(queries[first : first + batch]))
                online.append((time.perf_counter() - start) * 1000)
                classifying(min(first + batch, len(queries)), len(queries))
            session.close()
        logits = np.vstack(blocks)
        names = session.accepted.class_names or tuple(str(index) for index in range(logits.shape[1]))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Classification(
            labels=[names[index] for index in logits.argmax(axis=1)],
            scores=shifted.max(axis=1) / shifted.sum(axis=1),
            logits=logits,
            figures=_figures(meter, online, len(queries), batch, client.suite_name),
        )

    def _link(self, method: str, client: Party, meter: Meter) -> GrpcLink:
        provider = self._settings.provider
        return GrpcLink(
            provider.address, self._bundle, method, client, meter, deadline_seconds=provider.deadline_seconds
        )

    @cached_property
    def _encoder(self) -> Encoder:
        section = self._settings.encoder
        if section is None:
            raise ConfigurationError("There is no encoder.", hint="Add a section [encoder], or give embeddings.")
        return open_encoder(self._settings.path_or_name(section.name), max_tokens=section.max_tokens)

    def _encoder_fingerprint(self) -> str:
        return self._encoder.fingerprint if self._settings.encoder is not None else ""

    def _check_encoder(self, alignment: AlignmentMap) -> None:
        made_with, current = alignment.metadata.get("encoder", ""), self._encoder_fingerprint()
        if made_with and current and made_with != current:
            raise ConfigurationError(
                f"The map in {self._folder} was fitted on another encoder or with other settings of it.",
                hint="Run 'securealign-client align' again.",
                code=ErrorCode.CONFIGURATION_INVALID,
            )


def _figures(meter: Meter, online: list[float], queries: int, batch: int, suite: str) -> dict[str, Any]:
    stats = meter.stats()
    offline, answers = stats.phases["offline"], stats.phases["online"]
    return {
        "suite": suite,
        "queries": queries,
        "batch": batch,
        "online_ms_median": float(np.median(online)),
        "online_ms_p95": float(np.quantile(online, 0.95)),
        "offline_ms_per_query": offline.total_seconds * 1000 / queries,
        "bytes_up_per_query": answers.bytes_up / queries,
        "bytes_down_per_query": answers.bytes_down / queries,
        "offline_bytes_per_query": (offline.bytes_up + offline.bytes_down) / queries,
        "pid": os.getpid(),
        "stats": stats.as_dict(),
    }
