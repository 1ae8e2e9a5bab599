"""The spaces and heads that a provider offers, and what each client may use of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.matrices import Rows
from securealign.protocol.policy.accounts import SharedRows
from securealign.protocol.policy.rules import Rules


@dataclass(frozen=True)
class PublicData:
    """The public texts as the provider holds them: their digest, one embedding for each, and who made those.

    `related` are data sets served before that have texts in common with this one.
    """

    digest: bytes
    rows: Rows
    encoder: str
    related: tuple[SharedRows, ...] = ()


@dataclass(frozen=True)
class ServedSpace:
    """Private coordinates by their name, and the public texts to align on, unless others do that."""

    name: str
    space: Space
    public: PublicData | None = None


@dataclass(frozen=True)
class ServedHead:
    """A head by its name, in the coordinates of its space; `clients` may ask it, None stands for all."""

    name: str
    head: LinearHead = field(repr=False)
    space: ServedSpace
    digest: bytes
    rules: Rules
    clients: frozenset[str] | None = None

    def allows(self, client: str) -> bool:
        """Return whether a client may ask the head."""
        return self.clients is None or client in self.clients


class Catalogue:
    """What is offered now; a change of heads holds for the next message of every session."""

    def __init__(self, spaces: Iterable[ServedSpace], heads: Iterable[ServedHead]) -> None:
        self.spaces: Mapping[str, ServedSpace] = {space.name: space for space in spaces}
        #: Replaced as a whole, so that readers in other threads see all of a change or none.
        self.heads: Mapping[str, ServedHead] = {head.name: head for head in heads}

    def heads_for(self, client: str) -> list[ServedHead]:
        """Return the heads that a client may ask."""
        return [head for head in self.heads.values() if head.allows(client)]

    def head(self, client: str, name: str) -> ServedHead:
        """Return the head of a name, or the client's only one for ""; raises `RemoteProtocolError` without one."""
        offered = self.heads_for(client)
        named = [head for head in offered if name in {"", head.name}]
        if len(named) == 1:
            return named[0]
        names = ", ".join(head.name for head in offered) or "none"
        if named:
            raise _not_offered(f"The client {client!r} names no head, and {names} are offered to it.")
        raise _not_offered(f"The client {client!r} asks for the head {name!r}; offered to it: {names}.")

    def public(self, name: str, digest: bytes) -> tuple[ServedSpace, PublicData]:
        """Return the space of a name, or the only one of a data set digest for "", and its public texts.

        Raises `RemoteProtocolError` when there is none.
        """
        offered = [(space, space.public) for space in self.spaces.values() if space.public is not None]
        if name:
            offered = [(space, public) for space, public in offered if space.name == name]
            if not offered:
                raise _not_offered(f"There is no space {name!r} to align with.")
        matching = [(space, public) for space, public in offered if public.digest == digest]
        if len(matching) > 1:
            names = ", ".join(space.name for space, _ in matching)
            raise _not_offered(f"The client names no space, and {names} are made of its public texts.")
        if not matching:
            raise RemoteProtocolError("The client holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        return matching[0]


def _not_offered(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        reason, hint="See [heads.NAME] and [spaces.NAME] of the configuration.", code=ErrorCode.NOT_OFFERED
    )
