"""From the settings of a provider to what it offers: heads are read, public texts embedded, coordinates made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import structlog

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.margins import expected_uncertain_share, precision_warning
from securealign.commands import Progress
from securealign.data import load_public
from securealign.errors import ConfigurationError, ErrorCode
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.matrices import Rows
from securealign.models import Encoder
from securealign.models.endpoint import check_likeness, usage_of
from securealign.models.source import encode_cached, fingerprint_of, load_public_embeddings
from securealign.protocol.policy.sharing import sharing_warning
from securealign.provider.catalogue import PublicData, ServedHead, ServedSpace
from securealign.provider.config import NamedHead, NamedSpace, ProviderSettings
from securealign.provider.spaces import space_folder
from securealign.storage.opening import State
from securealign.storage.public_rows import PublicRows, row_identities
from securealign.storage.spaces import Origin

log = structlog.get_logger()

#: Public texts whose margins are measured at the start, and slots of a pool, on which the error hardly depends.
_MARGIN_TEXTS, _MARGIN_SLOTS = 1000, 64

Heads = Mapping[str, LinearHead]


def read_heads(settings: ProviderSettings) -> Heads:
    """Read the files of all heads, by name; raises `InputError` for one that cannot be used.

    Raises `ConfigurationError` as `require_one_budget` does.
    """
    heads = {
        name: LinearHead.from_pretrained(settings.path(entry.folder)) for name, entry in settings.offered_heads.items()
    }
    require_one_budget(settings, heads)
    return heads


def require_one_budget(settings: ProviderSettings, heads: Heads) -> None:
    """Raise `ConfigurationError` when a client may ask the same weights of one space under two names.

    Budgets belong to names, so that client would be given both budgets of one head.
    """
    offered = settings.offered_heads
    for one, other in combinations(heads, 2):
        first, second = offered[one], offered[other]
        if settings.space_of(first) != settings.space_of(second) or not first.shares_clients(second):
            continue
        if np.array_equal(heads[one].weight, heads[other].weight):
            raise ConfigurationError(
                f"The heads {one!r} and {other!r} have the same weights, and a client that may ask both would have "
                "two budgets for them.",
                hint=f"Leave out heads.{one} or heads.{other}, or give them different clients.",
            )


class Loader:
    """Makes what a provider offers; `charged` has the digests of data sets over which clients were charged."""

    def __init__(
        self, settings: ProviderSettings, state: State, suites: list[Suite], charged: set[str], report: Progress | None
    ) -> None:
        self._settings = settings
        self._state = state
        self._suites = suites
        self._charged = charged
        self._report = report

    def space(self, name: str, entry: NamedSpace, heads: Heads) -> ServedSpace:
        """Embed the public texts of a space, and find its coordinates or make them, once for encoder and texts.

        `heads` are those of the space. Raises `ConfigurationError` when they are of another encoder.
        """
        kept = space_folder(self._settings, self._state, name)
        if not entry.texts:
            return ServedSpace(name, kept.current())
        public = self._public(entry, heads)
        private = self._settings.privacy is not None
        origin = Origin(public.encoder, public.digest.hex(), private)
        space = kept.find(origin)
        if space is None:
            entropy = SystemEntropy()
            space = Space.fixed(public.rows.shape[1], entropy) if private else Space.of(public.rows, entropy)
            kept.keep(space, origin)
            log.info("space made", name=name, space=space.identifier.hex())
        kept.use(origin)
        return ServedSpace(name, space, public)

    def head(self, name: str, entry: NamedHead, head: LinearHead, space: ServedSpace) -> ServedHead:
        """Return a head in the coordinates of its space; raises `ConfigurationError` when it does not fit there.

        Warns when labels would be lost in the error of encryption, and when the answers that are allowed determine it.
        """
        dimension, features = space.space.dimension, len(head.weight)
        if dimension != features:
            raise ConfigurationError(
                f"The public embeddings of the space {space.name!r} have {dimension} dimensions and the head {name!r} "
                f"takes {features}.",
                hint="Use the encoder that the head was fitted on.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        salt = space_folder(self._settings, self._state, space.name).salt(SystemEntropy())
        clients = None if entry.clients is None else frozenset(entry.clients)
        rules = entry.rules(self._settings.policy)
        served = ServedHead(name, space.space.fold(head), space, head.digest(salt), rules, clients)
        self._warn_of_precision(served)
        shared = sharing_warning(rules, features, head.weight.shape[1], self._suites)
        if shared is not None:
            log.warning("the head is shared", head=name, reason=shared)
        return served

    def _public(self, entry: NamedSpace, heads: Heads) -> PublicData:
        settings = self._settings
        public = load_public(settings.path_or_name(entry.texts))
        if entry.embeddings is not None:
            embeddings = load_public_embeddings(settings.path(entry.embeddings), public)
            made_by = fingerprint_of(embeddings)
        else:
            encoder = settings.open_encoder(entry)
            for name, head in heads.items():
                _check_encoder(name, head, encoder)
            embeddings = encode_cached(encoder, public.texts, self._report)
            if (usage := usage_of(encoder)) is not None:
                log.info("endpoint used", **usage)
            made_by = encoder.fingerprint
        data = PublicData(public.digest, Rows(embeddings, name="The provider's public embeddings"), made_by)
        earlier = PublicRows(settings.path(settings.state.folder) / "rows")
        related = earlier.serve(public.digest, row_identities(public.texts), self._charged)
        return replace(data, related=related)

    def _warn_of_precision(self, served: ServedHead) -> None:
        """Warn for each suite under which labels near a boundary would be lost in the error of encryption."""
        space, public = served.space.space, served.space.public
        if public is not None and self._settings.privacy is None:
            embeddings = space.rows(public.rows).block(0, _MARGIN_TEXTS)
        elif space.count:
            embeddings = space.typical(_MARGIN_TEXTS)
        else:
            return
        features, classes = served.head.weight.shape
        shape = served.rules.head_shape(features, classes, _MARGIN_SLOTS)
        for suite in self._suites:
            share = expected_uncertain_share(served.head, embeddings, suite.head_forecast(shape).relative_error)
            warning = precision_warning(share)
            if warning is not None:
                log.warning(
                    "precision is short",
                    head=served.name,
                    suite=suite.info.parameter_set,
                    share=round(share, 4),
                    reason=warning,
                )


def _check_encoder(name: str, head: LinearHead, encoder: Encoder) -> None:
    """Raise `ConfigurationError` for a head of another encoder, which may have as many dimensions.

    Where texts are cut at another length for the head, that may be all that differs, and is only warned of.
    """
    made_with = head.metadata.get("encoder_fingerprint")
    if made_with is None:
        return
    if made_with == encoder.fingerprint:
        check_likeness(encoder, head.metadata, f"The head {name!r}")
        return
    tokens, public_tokens = head.metadata.get("max_tokens"), getattr(encoder, "max_tokens", None)
    if tokens == public_tokens:
        raise ConfigurationError(
            f"The head {name!r} was fitted on another encoder than the one of the public texts.",
            hint="Use the encoder that the head was fitted on, or fit the head again.",
        )
    log.warning(
        "the head was fitted on texts of another length, or on another encoder",
        head=name,
        head_max_tokens=tokens,
        public_max_tokens=public_tokens,
    )
