"""The machines that the provider makes for each session, under its policy and the ledgers that outlive it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace

from securealign.compute import compute
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.naming import is_offer_name
from securealign.ops.observability import Metrics, watched_queries, watched_rank
from securealign.protocol.context import Codec, Observer, ProviderContext, Quota
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.listing import HeadListing, Listing, SpaceListing
from securealign.protocol.offers import OfferedHead, OfferedRows, output_mode
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.privacy import Privacy, PrivacyAccount
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.policy.rates import (
    Rate,
    RateLimiter,
    listings_per_minute,
    pools_per_hour,
    queries_per_minute,
)
from securealign.protocol.policy.rules import Policy, Rules
from securealign.protocol.training.provider import TrainingProvider
from securealign.provider.catalogue import Catalogue, ServedHead
from securealign.provider.config import DEFAULT, PolicySection
from securealign.storage.database import Ledger
from securealign.transport.session_manager import Counters, Peer
from securealign.wire import InferenceCodec, TrainingCodec

#: Ledgers of the state folder, by the accounts that they keep.
LEDGERS = ("rank", "answers", "privacy")
#: Between the name of a head and that of a client; names of heads do not hold it.
_OF = " of "
#: Seconds that a message may wait for its share of a rate; one that would wait longer ends the session.
_LONGEST_WAIT = 60.0


class Machines:
    """Makes the provider's side of a session for a peer."""

    def __init__(
        self,
        catalogue: Catalogue,
        suites: Sequence[Suite],
        *,
        entropy: Entropy,
        policy: PolicySection,
        ledgers: dict[str, Ledger],
        metrics: Metrics,
        privacy: Privacy | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._suites = suites
        self._entropy = entropy
        self._policy = policy
        self._privacy = privacy
        self._ledgers = ledgers
        self._metrics = metrics
        self._live: weakref.WeakSet[InferenceProvider] = weakref.WeakSet()
        metrics.pool_depth(lambda: sum(machine.free_slots for machine in list(self._live)))
        # Half of the machine for pools and products that take long, the other half for answers.
        self._compute_slot = threading.BoundedSemaphore(max(1, compute().threads // 2))
        self._queries = _limiter(queries_per_minute, policy.max_queries_per_minute)
        self._pools = _limiter(pools_per_hour, policy.max_pools_per_hour)
        self._listings = _limiter(listings_per_minute, policy.max_listings_per_minute)

    def training(self, peer: Peer, observer: Observer, counters: Counters) -> TrainingProvider:
        """Return the machine of a training session, which multiplies with embeddings in their space."""

        def find(name: str, digest: bytes) -> OfferedRows:
            served, public = self._catalogue.public(name, digest)
            place = peer.identity, public.digest
            rank = RankAccount.of(*place, store=counters["rank"], lock=self._ledgers["rank"].lock)
            privacy = PrivacyAccount.of(*place, store=counters["privacy"], lock=self._ledgers["privacy"].lock)
            return OfferedRows(
                rows=public.rows if self._privacy is not None else served.space.rows(public.rows),
                dataset_digest=public.digest,
                space=served.space.identifier,
                total_squares=served.space.total_squares,
                account=watched_rank(replace(rank, related=public.related), peer.identity, self._metrics),
                privacy_account=replace(privacy, related=public.related),
            )

        return TrainingProvider(self._context(TrainingCodec(), peer, observer), find)

    def inference(self, peer: Peer, observer: Observer, counters: Counters) -> InferenceProvider:
        """Return the machine of an inference session."""
        made: dict[int, tuple[ServedHead, OfferedHead]] = {}

        def find(name: str) -> OfferedHead:
            served = self._catalogue.head(peer.identity, name)
            # The machine asks before each message, and compares nothing while the offer is the same object.
            if id(served) not in made:
                made.clear()
                made[id(served)] = served, self._offer(served, peer, counters["answers"])
            return made[id(served)][1]

        machine = InferenceProvider(
            self._context(InferenceCodec(), peer, observer),
            find,
            throttle=_throttle(self._queries, peer),
            prepare_throttle=_throttle(self._pools, peer),
        )
        self._live.add(machine)
        return machine

    def listing(self, peer: Peer, head: str = "") -> Listing:
        """Return what a peer may use: all of it, or the head of a name with the names of its classes.

        Raises `RemoteProtocolError` for a head that it may not ask, and for a peer that asks too often.
        """
        if self._listings is not None:
            self._listings.take(peer.identity, time.monotonic())
        heads = [self._catalogue.head(peer.identity, head)] if head else self._catalogue.heads_for(peer.identity)
        spaces = [] if head else self._catalogue.spaces.values()
        return Listing(
            heads=tuple(self._listed(served, peer, with_names=bool(head)) for served in heads),
            spaces=tuple(
                SpaceListing(
                    name=served.name,
                    dataset_digest=served.public.digest,
                    rows=served.public.rows.shape[0],
                    provider_dim=served.space.dimension,
                    space=served.space.identifier,
                )
                for served in spaces
                if served.public is not None
            ),
        )

    def _listed(self, served: ServedHead, peer: Peer, *, with_names: bool) -> HeadListing:
        policy, (provider_dim, classes) = self._policy_of(served.rules, peer), served.head.weight.shape
        account = self._account(served, peer, self._ledgers["answers"].values)
        limits = policy.query_limits
        answer_bits = self._suites[0].head_sizes(policy.head_shape(provider_dim, classes, 1)).answer_bits
        return HeadListing(
            name=served.name,
            classes=classes,
            class_names=served.head.class_names if with_names and policy.publish_class_names else (),
            output=output_mode(policy),
            provider_dim=provider_dim,
            space=served.space.space.identifier,
            space_name=served.space.name if served.space.public is not None else "",
            head_digest=served.digest,
            queries_left=account.left(answer_bits, limits),
            bits_left=None if limits.bits is None else max(0, limits.bits - account.bits),
            max_slots=Limits().max_pool_slots,
            answer_bits=answer_bits,
            abstains=policy.abstain_below is not None,
        )

    def _offer(self, served: ServedHead, peer: Peer, store: MutableMapping[str, float]) -> OfferedHead:
        account = self._account(served, peer, store)
        return OfferedHead(
            head=served.head,
            space=served.space.space.identifier,
            digest=served.digest,
            policy=self._policy_of(served.rules, peer),
            account=watched_queries(account, peer.identity, served.name, self._metrics),
        )

    def _account(self, served: ServedHead, peer: Peer, store: MutableMapping[str, float]) -> QueryAccount:
        name = account_name(served.name, peer.identity)
        return QueryAccount.of(name, store=store, lock=self._ledgers["answers"].lock)

    def _policy_of(self, rules: Rules, peer: Peer) -> Policy:
        """Return the policy for a peer under these rules, with the suites that its address allows."""
        return Policy.of(rules, privacy=self._privacy, allow_unencrypted=peer.loopback)

    def _context(self, codec: Codec, peer: Peer, observer: Observer) -> ProviderContext:
        return ProviderContext(
            codec=codec,
            suites=self._suites,
            entropy=self._entropy,
            observer=self._metrics.watching(observer),
            policy=self._policy_of(self._policy, peer),
            reserve=peer.reserve,
            compute_slot=self._compute_slot,
        )


def account_name(head: str, client: str) -> str:
    """Return the name of a client's account over a head, which no other pair has.

    That of a head named "default" is the client's own, unless the client is named like an account.
    """
    plain = head == DEFAULT and owner_of(client) == (DEFAULT, client)
    return client if plain else f"{head}{_OF}{client}"


def owner_of(account: str) -> tuple[str, str]:
    """Return the head and the client of an account."""
    head, separator, client = account.partition(_OF)
    return (head, client) if separator and is_offer_name(head) else (DEFAULT, account)


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
