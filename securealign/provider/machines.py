"""The machines that the provider makes for each session, under its policy and the ledgers that outlive it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.matrices import Rows
from securealign.ops.observability import Metrics, watched_queries, watched_rank
from securealign.protocol.context import Codec, Observer, ProviderContext, Quota
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.messages import UNNAMED_HEAD
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.privacy import Privacy, PrivacyAccount
from securealign.protocol.policy.rank import RankAccount, SharedRows
from securealign.protocol.policy.rates import Rate, RateLimiter, pools_per_hour, queries_per_minute
from securealign.protocol.policy.rules import Policy
from securealign.protocol.training.provider import TrainingProvider
from securealign.provider.config import PolicySection
from securealign.storage.counters import Ledger
from securealign.transport.session_manager import Counters, Peer
from securealign.wire import InferenceCodec, TrainingCodec

#: Ledgers of the state folder, by the accounts that they keep.
LEDGERS = ("rank", "answers", "privacy")
#: Seconds that a message may wait for its share of a rate; one that would wait longer ends the session.
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class PublicData:
    """The public texts as the provider holds them: their digest, one embedding for each, and who made those.

    `related` are data sets served before that have texts in common with this one.
    """

    digest: bytes
    rows: Rows
    encoder: str
    related: tuple[SharedRows, ...] = ()


class Machines:
    """Makes the provider's side of a session for a peer."""

    def __init__(
        self,
        suites: Sequence[Suite],
        entropy: Entropy,
        policy: PolicySection,
        ledgers: dict[str, Ledger],
        metrics: Metrics,
        *,
        privacy: Privacy | None = None,
    ) -> None:
        self._suites = suites
        self._entropy = entropy
        self._policy = policy
        self._privacy = privacy
        self._ledgers = ledgers
        self._metrics = metrics
        self._live: weakref.WeakSet[InferenceProvider] = weakref.WeakSet()
        metrics.pool_depth(lambda: sum(machine.free_slots for machine in list(self._live)))
        # Half of the machine for pools and products that take long, the other half for answers.
        self._compute_slot = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))
        self._queries = _limiter(queries_per_minute, policy.max_queries_per_minute)
        self._pools = _limiter(pools_per_hour, policy.max_pools_per_hour)

    def training(
        self, public: PublicData, space: Space, peer: Peer, observer: Observer, counters: Counters
    ) -> TrainingProvider:
        """Return the machine of a training session, which multiplies with embeddings in the space."""
        place, identity = (peer.identity, public.digest), peer.identity
        rank = RankAccount.of(*place, store=counters["rank"], lock=self._ledgers["rank"].lock)
        privacy = PrivacyAccount.of(*place, store=counters["privacy"], lock=self._ledgers["privacy"].lock)
        return TrainingProvider(
            self._context(TrainingCodec(), space, peer, observer),
            public.rows if self._privacy is not None else space.rows(public.rows),
            public.digest,
            total_squares=space.total_squares,
            account=watched_rank(replace(rank, related=public.related), identity, self._metrics),
            privacy_account=privacy,
        )

    def inference(
        self,
        head: LinearHead,
        space: Space,
        peer: Peer,
        observer: Observer,
        counters: Counters,
        *,
        digest: bytes = UNNAMED_HEAD,
    ) -> InferenceProvider:
        """Return the machine of an inference session for a head of embeddings in the space, and its digest."""
        answers = QueryAccount.of(peer.identity, store=counters["answers"], lock=self._ledgers["answers"].lock)
        machine = InferenceProvider(
            self._context(InferenceCodec(), space, peer, observer),
            head,
            account=watched_queries(answers, peer.identity, self._metrics),
            throttle=_throttle(self._queries, peer),
            prepare_throttle=_throttle(self._pools, peer),
            head_digest=digest,
        )
        self._live.add(machine)
        return machine

    def policy(self, peer: Peer) -> Policy:
        """Return the rules for sessions of a peer: those of the settings, and the suites that its address allows."""
        return Policy.of(self._policy, privacy=self._privacy, allow_unencrypted=peer.loopback)

    def _context(self, codec: Codec, space: Space, peer: Peer, observer: Observer) -> ProviderContext:
        return ProviderContext(
            codec=codec,
            suites=self._suites,
            entropy=self._entropy,
            observer=self._metrics.watching(observer),
            policy=self.policy(peer),
            space=space.identifier,
            reserve=peer.reserve,
            compute_slot=self._compute_slot,
        )


def _limiter(rate: Callable[[int], Rate], count: int | None) -> RateLimiter | None:
    return None if count is None else RateLimiter(rate(count), threading.Lock())


def _throttle(limiter: RateLimiter | None, peer: Peer) -> Quota | None:
    """Return what makes a peer wait until what it asks for is within its rate."""
    if limiter is None:
        return None

    def wait(amount: int) -> None:
        seconds = limiter.wait(peer.identity, time.monotonic(), amount)
        if 0 < seconds <= _LONGEST_WAIT:
            time.sleep(seconds)
        limiter.take(peer.identity, time.monotonic(), amount)

    return wait
