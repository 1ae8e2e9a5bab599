"""The client, composed from its settings: it aligns once and classifies often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.margins import precision_warning
from securealign.alignment.regression import unrelated_warning
from securealign.client.classifying import Classifying, Options, settings_digest
from securealign.client.config import ClientSettings
from securealign.client.held import HeldSession
from securealign.client.inputs import Inputs, open_feed
from securealign.client.results import Results, open_results
from securealign.client.slots import PoolTerms
from securealign.client.work import Training
from securealign.commands import Progress
from securealign.compute import one_blas_thread, use_threads
from securealign.data import load_public
from securealign.errors import (
    CiphertextError,
    ConfigurationError,
    ErrorCode,
    InputError,
    RemoteProtocolError,
    SecurealignError,
)
from securealign.he.entropy import Entropy, SystemEntropy
from securealign.he.registry import get_suite
from securealign.keys.handles import Purpose
from securealign.models import EmbeddingCache, Encoder, EndpointEncoder
from securealign.models.endpoint import check_likeness, likeness_of, usage_of
from securealign.models.source import encode_cached, load_public_embeddings, user_cache
from securealign.pki.identity import Role
from securealign.protocol.context import ClientContext, Codec
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.listing import HeadListing, Listing
from securealign.protocol.randomness import FreshRoot, Root, SessionEntropy
from securealign.protocol.resume.session import ResumableClient
from securealign.recording.measured import RunLog
from securealign.storage.opening import State
from securealign.storage.work import Attempt, durable_attempts, work_name
from securealign.transport.credentials import BundleSource
from securealign.transport.grpc_client import GrpcLink, call, is_loopback
from securealign.transport.grpc_server import INFERENCE_METHOD, LISTING_METHOD, TRAINING_METHOD
from securealign.transport.meter import Listener, Meter
from securealign.transport.retrying import RetryPolicy
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec, decode_listing, encode_listing_request

log = structlog.get_logger()

_DAY_SECONDS = 86_400.0


class Client:
    """What the client owns, and the sessions it opens."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        if settings.compute_threads is not None:
            use_threads(settings.compute_threads)
        provider = settings.provider
        self._bundle = BundleSource(settings.path(provider.certificates), Role.CLIENT)
        self._suites = [get_suite(name) for name in provider.suites]
        self._entropy = SystemEntropy()
        self._allow_unencrypted = is_loopback(provider.address)
        self._folder = settings.path(settings.alignment.folder)
        self._warned = False

    @one_blas_thread()
    def align(self, embedding: Progress, uploading: Progress, record: Path | None = None) -> dict[str, Any]:
        """Fit the map with the provider, save it, and return the figures of the session.

        With `record` the session is written to a run file, also when it fails.
        """
        if self._settings.public is None:
            raise ConfigurationError("There are no public texts to align on.", hint="Add a section [public].")
        public = load_public(self._settings.path_or_name(self._settings.public.texts))
        if self._settings.public.embeddings is not None:
            embeddings = load_public_embeddings(self._settings.path(self._settings.public.embeddings), public)
        else:
            embeddings = encode_cached(self._encoder, public.texts, embedding)
            self._tell_usage()
        run_log = RunLog(record, command="align", side="client")
        training = Training(
            embeddings,
            public.digest,
            self._settings.alignment,
            uploading,
            run_log,
            space_name=self._settings.provider.space,
        )

        provider, section = self._settings.provider, self._settings.alignment
        settings = f"{section.ridge} {section.accept_noise} {provider.space}"
        work = work_name(provider.address, ",".join(provider.suites), settings, training.digest, embeddings)
        with run_log, self._opening() as state, self._attempts(state(), Purpose.TRAINING, work) as attempts:
            for attempt in attempts:
                with attempt:
                    figures = self._align(training, attempt, run_log)
        return figures

    def offers(self, head: str = "") -> Listing:
        """Return what the provider offers this client: all of it, or one head with the names of its classes.

        Raises `TransportError` when it cannot be asked or does not offer the head.
        """
        request = encode_listing_request(head)
        return decode_listing(call(self._settings.provider.address, self._bundle, LISTING_METHOD, request))

    def _align(self, training: Training, attempt: Attempt, run_log: RunLog) -> dict[str, Any]:
        """Run a training session, save the map and return the figures."""
        client = training.client(self._context(TrainingCodec(), training.meter, attempt.root))
        session = attempt.session(client)
        with run_log.of(client, training.meter):
            with self._link(TRAINING_METHOD, session, training.meter) as link:
                product = train(link, client, training.meter)
            solved = training.solve(client, product)
        doubt = unrelated_warning(solved.metadata)
        if doubt is not None:
            log.warning("public embeddings may not belong together", reason=doubt)
        origin = {
            "space": client.space.hex(),
            "encoder": self._encoder_fingerprint(),
            "dataset_digest": training.digest.hex(),
            "suite": client.suite_name,
            **likeness_of(self._encoder if self._settings.encoder is not None else None),
        }
        AlignmentMap(solved.weight, solved.bias, {**solved.metadata, **origin}).save_pretrained(self._folder)
        vars(self).pop("alignment", None)  # the map that was read before
        return training.figures(client, solved, self._folder)

    def encode(self, texts: Sequence[str], *, cache: bool) -> npt.NDArray[np.floating]:
        """Return embeddings of private texts; `cache` keeps them on disk, readable by their owner alone."""
        self._warn_of_vendor()
        return self._cache.encode(self._encoder, texts) if cache else self._encoder.encode(texts)

    @cached_property
    def _cache(self) -> EmbeddingCache:
        return user_cache()

    def _warn_of_vendor(self) -> None:
        """Say once that private texts leave this machine in clear for those who run the endpoint."""
        if not self._warned and isinstance(self._encoder, EndpointEncoder):
            self._warned = True
            log.warning("the vendor of the endpoint sees the private texts", host=self._encoder.endpoint.host)

    def _tell_usage(self) -> None:
        if (usage := usage_of(self._encoder)) is not None:
            log.info("endpoint used", **usage)

    def options(self, *, batch: int | None = None, as_json: bool = False, columns: tuple[str, ...] = ()) -> Options:
        """Return how inputs are asked and written: what is chosen, and what the settings say."""
        section, seconds = self._settings.inference, self._settings.provider.deadline_seconds
        return Options(
            batch=batch,
            pool_slots=section.pool_slots,
            verify=section.verify_answers,
            session_seconds=seconds,
            as_json=as_json,
            columns=columns,
        )

    def open_results(self, output: Path | None, source: str, options: Options, *, overwrite: bool) -> Results:
        """Return where the results of a source go: see `securealign.client.results`."""
        settings = settings_digest(self.alignment, self._encoder_fingerprint(), options)
        name = work_name(settings, source, str(output)).hex()
        file = self._settings.path(self._settings.state.folder) / "streams" / f"{name}.json"
        return open_results(output, settings, file, overwrite=overwrite)

    @one_blas_thread()
    def classify(
        self,
        inputs: Callable[[], Inputs],
        results: Results,
        options: Options,
        classifying: Progress,
        *,
        cache: bool = False,
        record: Path | None = None,
    ) -> dict[str, Any]:
        """Have inputs classified under encryption, and write a line for each; returns figures.

        With `record` the sessions are written to a run file, also when one fails.
        """
        run_log = RunLog(record, command="classify", side="client")
        meter = Meter(counted="client", listener=run_log)
        feed = open_feed(inputs, results)
        work = Classifying(
            feed,
            results,
            self.alignment,
            lambda texts: self.encode(texts, cache=cache),
            options,
            entropy=self._entropy,
            offered=self._offered_head,
            progress=classifying,
        )
        suite = ""
        with run_log, self._opening() as state:
            while work.unfinished():
                with work.unless_head_changed():
                    suite = self._answer(work, state(), meter, run_log, verify=options.verify)
            results.finish()
        if self._warned:
            self._tell_usage()
        figures = work.figures(meter, suite)
        uncertain = figures.get("uncertain_share")
        warning = precision_warning(uncertain) if uncertain is not None else None
        if warning is not None:
            log.warning("precision is short", reason=warning)
        return figures

    def _offered_head(self) -> HeadListing | None:
        """Return what the provider says of the head that is asked, None where it cannot be found out."""
        name = self._settings.provider.head
        try:
            heads = [head for head in self.offers().heads if head.name == name or not name]
        except SecurealignError:
            # The session that follows says what is wrong.
            return None
        return heads[0] if len(heads) == 1 else None

    def _answer(self, work: Classifying, state: State, meter: Meter, run_log: RunLog, *, verify: bool) -> str:
        """Open a session, or go on with one, let it answer what it can, and return the name of its suite."""
        provider, alignment = self._settings.provider, self.alignment
        terms = f"{work.slots} {verify} {provider.head}"
        name = work_name(work.session, provider.address, ",".join(provider.suites), terms, alignment.space)
        with self._attempts(state, Purpose.INFERENCE, name) as attempts:
            for attempt in attempts:
                attempt.wanted = lambda: work.recorded
                with attempt:
                    context = self._context(InferenceCodec(), meter, attempt.root)
                    dimension = alignment.weight.shape[1]
                    client = InferenceClient(
                        context, dimension, slots=work.slots, space=alignment.space, head=provider.head
                    )
                    resumable = attempt.session(client)
                    restored = client.submitted > 0
                    with run_log.of(client, meter), self._link(INFERENCE_METHOD, resumable, meter) as link:
                        session = InferenceSession(link, client, meter)
                        try:
                            work.answer(session, partial(_checks, attempt.root, client), restored=restored)
                        except (InputError, CiphertextError, RemoteProtocolError):
                            # The session ends as at the end of the inputs: the provider is not told that something is
                            # wrong with an answer.
                            if session.open:
                                session.close()
                                work.ended()
                            raise
                        session.close()
        work.ended()
        return client.suite_name

    def queries_left(self) -> int | None:
        """Return what the provider says now is left of the budget for the head, None where it cannot be asked."""
        head = self._offered_head()
        return None if head is None else head.queries_left

    def pool_terms(self) -> PoolTerms | None:
        """Return what the slots of a pool depend on, None where the provider cannot be asked."""
        head = self._offered_head()
        return None if head is None else PoolTerms.of(head)

    @one_blas_thread()
    def hold(self, slots: int, listener: Listener, *, abandon: threading.Event) -> HeldSession:
        """Open a session that lasts as long as this process, with pools of so many slots.

        `listener` hears what passes; once `abandon` is set, nothing is waited for any more.
        """
        meter = Meter(counted="client", listener=listener)
        alignment = self.alignment
        client = InferenceClient(
            self._context(InferenceCodec(), meter, FreshRoot(self._entropy)),
            alignment.weight.shape[1],
            slots=slots,
            space=alignment.space,
            head=self._settings.provider.head,
        )
        checks = self._entropy.fork("checks") if self._settings.inference.verify_answers else None
        link = partial(self._link, INFERENCE_METHOD, meter=meter)
        return HeldSession(client, link, meter, checks=checks, abandon=abandon)

    def _context(self, codec: Codec, meter: Meter, root: Root) -> ClientContext:
        return ClientContext(
            codec=codec,
            suites=self._suites,
            entropy=self._entropy,
            allow_unencrypted=self._allow_unencrypted,
            observer=meter.observer("client"),
            root=root,
        )

    @contextmanager
    def _opening(self) -> Iterator[Callable[[], State]]:
        """Give a function that opens what this party keeps, once: a key store takes 128 MiB to open."""
        with ExitStack() as opened:
            yield cache(lambda: opened.enter_context(closing(self._settings.open_state(self._settings.state))))

    def _attempts(self, state: State, purpose: Purpose, work: bytes) -> AbstractContextManager[Iterator[Attempt]]:
        """Give the attempts at a piece of work, under this party's keys."""
        keep_seconds = self._settings.state.keep_days * _DAY_SECONDS
        return durable_attempts(state, purpose, work, keep_seconds=keep_seconds)

    def _link(
        self, method: str, endpoint: ResumableClient, meter: Meter, *, sleep: Callable[[float], None] = time.sleep
    ) -> GrpcLink:
        provider = self._settings.provider
        return GrpcLink(
            provider.address,
            self._bundle,
            method,
            endpoint,
            meter,
            deadline_seconds=provider.deadline_seconds,
            retry=RetryPolicy(seconds=provider.patience_seconds, notice=_notice, sleep=sleep),
        )

    @cached_property
    def _encoder(self) -> Encoder:
        section = self._settings.encoder
        if section is None:
            raise ConfigurationError("There is no encoder.", hint="Add a section [encoder], or give embeddings.")
        return self._settings.open_encoder(section)

    def _encoder_fingerprint(self) -> str:
        return self._encoder.fingerprint if self._settings.encoder is not None else ""

    @cached_property
    def alignment(self) -> AlignmentMap:
        """The map that `align` has saved; raises `InputError` or `ConfigurationError` for one that cannot be used."""
        alignment = AlignmentMap.from_pretrained(self._folder)
        _ = alignment.space
        self._check_encoder(alignment)
        return alignment

    def _check_encoder(self, alignment: AlignmentMap) -> None:
        made_with, current = alignment.metadata.get("encoder", ""), self._encoder_fingerprint()
        if made_with and current and made_with != current:
            raise ConfigurationError(
                f"The map in {self._folder} was fitted on another encoder or with other settings of it.",
                hint="Run 'securealign-client align' again.",
                code=ErrorCode.CONFIGURATION_INVALID,
            )
        if current:
            check_likeness(self._encoder, alignment.metadata, f"The map in {self._folder}")


def _checks(root: Root, client: InferenceClient, block: int) -> Entropy:
    """Return the randomness of a block's check rows: secret, and the same when the session goes on elsewhere."""
    return SessionEntropy(root.derive(b"securealign/checks/" + client.nonce + block.to_bytes(8, "big")))


def _notice(error: SecurealignError) -> None:
    log.warning("provider lost; trying again", code=error.code.name, reason=error.message)
