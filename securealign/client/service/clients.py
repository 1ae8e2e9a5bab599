"""The open clients of a service: one for each head that is asked for, and what the provider last said of its heads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from securealign.client.awaited import AsyncOpenClient
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.problems import RequestError
from securealign.errors import ErrorCode, SecurealignError
from securealign.protocol.listing import HeadListing

#: Opens a client of the head of this name; "" is the only one that the provider offers.
Open = Callable[[str], AsyncOpenClient]

#: Seconds for which what the provider said of its heads holds: as many requests as come ask it once.
_TOLD_SECONDS = 30.0
#: Seconds for which its refusal or silence holds.
_SILENT_SECONDS = 5.0

_LISTED = "GET /v1/models lists those that it offers."

log = structlog.get_logger()


class Clients:
    """Open clients by the names of their heads. `default` is the configured head, whose client is opened at once."""

    def __init__(
        self,
        open_client: Open,
        default: str = "",
        limits: ServiceLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open, self._limits, self._clock = open_client, limits or ServiceLimits(), clock
        self.default = default
        self._clients = OrderedDict({default: open_client(default)})
        self._in_use: Counter[str] = Counter()
        #: The name of the only head, where none is configured.
        self._only = ""
        self._told: tuple[HeadListing, ...] = ()
        self._said: tuple[float, SecurealignError | None] | None = None
        self._asking: asyncio.Task[tuple[HeadListing, ...]] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def clients(self) -> Mapping[str, AsyncOpenClient]:
        """The clients that are open."""
        return self._clients

    @property
    def address(self) -> str:
        """The provider's address."""
        return self._clients[self.default].status().address

    @property
    def told(self) -> tuple[HeadListing, ...]:
        """The heads that the provider listed last; none before it was asked."""
        return self._told

    @property
    def last_answer(self) -> float | None:
        """How many seconds ago the provider answered or failed to; None before it was asked."""
        return None if self._said is None else self._clock() - self._said[0]

    async def heads(self) -> tuple[HeadListing, ...]:
        """Return the heads that the provider offers, as it said at most some seconds ago; raises what it raised."""
        if self._asking is None and self._said is not None:
            at, error = self._said
            if self._clock() - at < (_TOLD_SECONDS if error is None else _SILENT_SECONDS):
                if error is not None:
                    raise error
                return self._told
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        # One caller that gives up must not end the question of the others.
        return await asyncio.shield(self._asking)

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[tuple[str, AsyncOpenClient]]:
        """Yield the name of a head and its client; "" is the configured one. Raises `RequestError` if unknown."""
        name, key = await self._key(model)
        if key not in self._clients:
            self._make_room()
            self._clients[key] = self._open(key)
        self._clients.move_to_end(key)
        self._in_use[key] += 1
        try:
            yield name, self._clients[key]
        finally:
            self._in_use[key] -= 1

    async def close(self) -> None:
        """Close all clients; what they answer now is finished first, within the time that the limits give."""
        if self._asking is not None:
            self._asking.cancel()
        closing = [*self._closing, *(asyncio.ensure_future(client.close()) for client in self._clients.values())]
        _, late = await asyncio.wait(closing, timeout=self._limits.close_seconds)
        if late:
            log.warning("sessions were not closed in time", count=len(late))

    async def _key(self, model: str) -> tuple[str, str]:
        """Return the name of the head that a model is, and the one under which its client is known.

        Without a configured head, the client known as "" asks the only one that is offered.
        """
        name = model or self.default or self._only
        if name and (name in self._clients or name == self._only):
            return name, name if name in self._clients else self.default
        names = [head.name for head in await self.heads()]
        if not self.default and len(names) == 1:
            self._only = names[0]
        if not name and not self._only:
            raise RequestError(422, "The request names no head, and there is not just one.", _LISTED)
        if name and name not in names:
            raise RequestError(404, "The provider offers no head of that name.", _LISTED, ErrorCode.NOT_OFFERED)
        name = name or self._only
        return name, self.default if name == self._only else name

    def _make_room(self) -> None:
        """Close the client used longest ago, if there are too many; raises `RequestError` if all are in use."""
        if len(self._clients) < self._limits.max_heads:
            return
        idle = next((key for key in self._clients if key != self.default and not self._in_use[key]), None)
        if idle is None:
            raise RequestError(
                503,
                f"This service asks {len(self._clients)} heads already.",
                "Try again later.",
                ErrorCode.SERVER_BUSY,
                headers={"Retry-After": "5"},
            )
        task = asyncio.ensure_future(self._clients.pop(idle).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _ask(self) -> tuple[HeadListing, ...]:
        try:
            self._told = await self._clients[self.default].heads()
        except SecurealignError as error:
            self._said = self._clock(), error
            raise
        self._said = self._clock(), None
        return self._told

    def _asked(self, task: asyncio.Task[tuple[HeadListing, ...]]) -> None:
        self._asking = None
        if not task.cancelled():
            # Nobody may be waiting any more; then the error has no reader.
            task.exception()
