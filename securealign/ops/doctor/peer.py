"""Checks of a client against its provider: from the name of the host to the first messages of both phases."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc

from securealign.alignment.maps import AlignmentMap
from securealign.client.config import ClientSettings
from securealign.errors import ErrorCode, InputError, SecurealignError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import get_suite
from securealign.ops.doctor.findings import Finding, failed, fine, warning
from securealign.ops.doctor.greeting import greet
from securealign.ops.doctor.local import PublicData, Site
from securealign.pki.bundles import Bundle, load_bundle
from securealign.protocol.messages import (
    Accept,
    InferenceAccept,
    InferenceHello,
    TrainingAccept,
    TrainingHello,
)
from securealign.protocol.negotiation import VERSIONS, check_accept, make_hello, offer
from securealign.transport.grpc_client import is_loopback
from securealign.transport.grpc_server import INFERENCE_METHOD, TRAINING_METHOD
from securealign.transport.preflight import (
    Preflight,
    PreflightError,
    Stage,
    connect,
    meet,
    pinned_channel,
    split_target,
)
from securealign.wire import InferenceCodec, TrainingCodec

#: Which check a stage of the first connection belongs to.
_CHECK_OF_STAGE = {
    Stage.NAME: "address",
    Stage.PORT: "port",
    Stage.TLS: "tls",
    Stage.GRPC: "grpc",
    Stage.DATES: "clock",
    Stage.AUTHORITY: "authority",
    Stage.ROLE: "role",
    Stage.OWN_CERTIFICATE: "own certificate",
}
#: Which error codes belong to a check, whoever found them.
_CODES_OF_CHECK = {
    "address": (ErrorCode.CONFIGURATION_INVALID,),
    "revocation": (ErrorCode.CERTIFICATE_REVOKED,),
    "role": (ErrorCode.WRONG_ROLE,),
    "authority": (ErrorCode.PEER_UNTRUSTED,),
    "port": (ErrorCode.PEER_UNREACHABLE,),
    "version": (ErrorCode.VERSION_UNSUPPORTED,),
    "suite": (ErrorCode.SUITE_UNKNOWN, ErrorCode.SUITE_REFUSED, ErrorCode.SUITE_UNAVAILABLE),
    "parameters": (ErrorCode.PARAMETERS_MISMATCH,),
    "digest": (ErrorCode.DATASET_MISMATCH,),
    "dimension": (ErrorCode.SHAPE_MISMATCH, ErrorCode.TOO_FEW_ROWS, ErrorCode.LIMIT_EXCEEDED),
    "map": (ErrorCode.SPACE_MISMATCH,),
    "busy": (ErrorCode.SERVER_BUSY, ErrorCode.MEMORY_EXHAUSTED, ErrorCode.RATE_LIMITED),
    "policy": (
        *(ErrorCode.RANK_BUDGET_EXHAUSTED, ErrorCode.QUERY_BUDGET_EXHAUSTED, ErrorCode.PRIVACY_BUDGET_EXHAUSTED),
        *(ErrorCode.PRIVACY_REFUSED, ErrorCode.OUTPUT_REFUSED),
    ),
}


def check_peer(site: Site, file: ClientSettings, *, timeout: float = 5.0) -> Iterator[Finding]:
    """Yield the findings of the checks against the provider, until one fails on which the others depend.

    `timeout` in seconds bounds each step.
    """
    try:
        host, port = split_target(file.provider.address)
        yield fine("address", f"{host} is {', '.join(addresses_of(host, port))}")
        connect(host, port, timeout).close()
        yield fine("port", f"{port} is open")
        bundle = load_bundle(site.folder, site.role, now=site.clock())
        met = meet(file.provider.address, bundle, now=site.clock(), timeout=timeout)
    except SecurealignError as error:
        yield failed(check_of(error), error)
        return
    yield from _describe(met, bundle)
    with pinned_channel(file.provider.address, bundle, met.certificate) as channel:
        yield from _Sessions(site, file, channel, timeout).check()


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a host; raises `PreflightError` for a name that does not resolve."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PreflightError(
            Stage.NAME,
            f"The name {host} does not resolve.",
            hint="Check the spelling of provider.address, and this machine's DNS.",
        ) from error
    return sorted({str(item[4][0]) for item in found})


def _describe(met: Preflight, bundle: Bundle) -> Iterator[Finding]:
    yield fine("tls", f"{met.tls_version}, HTTP/2, and this party's certificate is accepted")
    yield fine("authority", "the provider's certificate leads to an authority in ca.pem, and is valid now")
    yield fine("role", f"provider {met.identity.name!r}, fingerprint {met.identity.fingerprint[:16]}")
    if bundle.revocations:
        yield fine("revocation", "the provider's certificate is not revoked")


def check_of(error: SecurealignError) -> str:
    """Return to which check an error belongs."""
    if isinstance(error, PreflightError):
        return _CHECK_OF_STAGE[error.stage]
    return next((check for check, codes in _CODES_OF_CHECK.items() if error.code in codes), "session")


class _Sessions:
    """The handshakes of both phases, over one channel."""

    def __init__(self, site: Site, file: ClientSettings, channel: grpc.Channel, timeout: float) -> None:
        self._site = site
        self._file = file
        self._channel = channel
        self._timeout = timeout
        self._open = is_loopback(file.provider.address)

    def check(self) -> Iterator[Finding]:
        try:
            suites = [get_suite(name) for name in self._file.provider.suites]
        except SecurealignError as error:
            yield failed("suite", error)
            return
        yield from self._guarded(self._train, suites, "training")
        yield from self._guarded(self._infer, suites, "inference")

    def _guarded(
        self, check: Callable[[list[Suite]], Iterator[Finding]], suites: list[Suite], phase: str
    ) -> Iterator[Finding]:
        try:
            yield from check(suites)
        except SecurealignError as error:
            if error.code is ErrorCode.NOT_SERVED:
                yield warning(
                    phase, "the provider does not serve it", "Its operator adds [public] to train, [head] to classify."
                )
                return
            # Both certificates were accepted before, so an error about one now is about this party's.
            name = "own certificate" if error.code in _OF_CERTIFICATES else check_of(error)
            found = failed(name, error)
            detail = self._detail(name, suites)
            hint = _HINTS.get(name) or error.hint
            yield replace(found, message=f"{phase}: {error.message}{detail}", hint=hint)

    def _train(self, suites: list[Suite]) -> Iterator[Finding]:
        public = self._public()
        if public is None:
            return
        saved = self._map()
        dimension = public.dimension or (0 if saved is None else len(saved.weight))
        if not dimension:
            yield warning(
                "dimension",
                "this encoder's dimension shows only when it is opened, so the provider was not asked about it",
                "After the first 'securealign-client align' it is known.",
            )
        opening = TrainingHello(
            hello=make_hello(suites, SystemEntropy(), allow_unencrypted=self._open),
            client_dim=dimension or 1,
            rows=public.rows,
            dataset_digest=public.digest,
            space_name=self._file.provider.space,
        )
        answer = greet(self._channel, TRAINING_METHOD, TrainingCodec(), opening, TrainingAccept, timeout=self._timeout)
        yield from _agreed("training", answer.accept, suites)
        if answer.dataset_digest != public.digest:
            raise InputError(
                f"The provider's public texts have the digest {answer.dataset_digest.hex()[:16]}.",
                code=ErrorCode.DATASET_MISMATCH,
            )
        yield fine("digest", f"both hold the same {public.rows} public texts, in the same order")
        if dimension:
            yield fine("dimension", f"{dimension} here, {answer.provider_dim} at the provider")

    def _infer(self, suites: list[Suite]) -> Iterator[Finding]:
        saved = self._map()
        if saved is None:
            return
        features = saved.weight.shape[1]
        opening = InferenceHello(
            hello=make_hello(suites, SystemEntropy(), allow_unencrypted=self._open),
            provider_dim=features,
            slots=1,
            space=saved.space,
            head=self._file.provider.head,
        )
        answer = greet(
            self._channel, INFERENCE_METHOD, InferenceCodec(), opening, InferenceAccept, timeout=self._timeout
        )
        yield from _agreed("inference", answer.accept, suites)
        yield fine("head", f"{answer.classes} classes over {features} dimensions; {answer.queries_left} queries left")

    def _public(self) -> PublicData | None:
        try:
            return self._site.public()
        except (SecurealignError, OSError):
            # The checks of this machine report it.
            return None

    def _map(self) -> AlignmentMap | None:
        """Return the alignment map, None while there is none."""
        try:
            return AlignmentMap.from_pretrained(self._file.path(self._file.alignment.folder))
        except SecurealignError:
            return None

    def _detail(self, check: str, suites: list[Suite]) -> str:
        """Return what this party holds, to compare with the provider's."""
        if check in {"suite", "parameters"}:
            offers = (offer(suite) for suite in suites)
            held = (f"{item.parameter_set} (parameters {item.parameter_digest.hex()[:16]})" for item in offers)
            return f" Offered here: {', '.join(held)}."
        if check == "version":
            return f" This release speaks {', '.join(map(str, VERSIONS))}."
        public = self._public()
        if check in {"digest", "dimension"} and public is not None:
            return (
                f" Here: {public.rows} texts, digest {public.digest.hex()[:16]}, dimension {public.dimension or '?'}."
            )
        return ""


_OF_CERTIFICATES = frozenset({ErrorCode.CERTIFICATE_REVOKED, ErrorCode.PEER_UNTRUSTED, ErrorCode.WRONG_ROLE})
_HINTS = {
    "own certificate": "The provider refuses this party's certificate; its log says why: revoked, or its own list of "
    "revoked certificates has expired. Ask for a new bundle, or have the list renewed there.",
    "version": "Upgrade the older of the two releases.",
    "suite": "Compare provider.suites here with policy.suites there: 'securealign suites'.",
    "parameters": "Run the same release on both sides.",
    "digest": "Exchange the file of public texts again, and compare 'sha256sum' of both.",
    "dimension": "Agree on more public texts, or check which encoder and head each side uses.",
    "map": "Run 'securealign-client align' again.",
    "busy": "Try again later.",
    "policy": "Ask the provider's operator what its policy allows.",
}


def _agreed(phase: str, accept: Accept, suites: list[Suite]) -> Iterator[Finding]:
    suite = check_accept(accept, suites)
    yield fine("version", f"{phase} in version {accept.version}")
    yield fine("suite", f"{phase} under {suite.info.parameter_set}")
    yield fine("parameters", f"the same on both sides, {suite.info.parameter_digest.hex()[:16]}")
