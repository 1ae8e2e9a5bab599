"""Which requests a console answers: those that call it by its own name; for work, those that its own page made.

A page of another origin can make a browser send requests here, and can give its own name this machine's address.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import HTTPException

from securealign.console.access import Access


def require_own_host(headers: Mapping[str, str], hosts: Collection[str]) -> None:
    """Refuse a request whose `Host` is neither an IP address nor one of these names, in lower case."""
    if not Access(host="", port=0, hosts=frozenset(hosts)).knows_host(headers.get("host", "")):
        raise HTTPException(421, "This console does not go by that name: call it by its address")


def require_same_origin(headers: Mapping[str, str]) -> None:
    """Refuse a request that another site made, or that does not say which one; browsers do with every one for work."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in {None, "same-origin"} or (origin or "").partition("://")[2] != headers.get("host"):
        raise HTTPException(403, "Requests are taken from the console's own page alone")


def require_token(headers: Mapping[str, str], access: Access) -> None:
    """Refuse a request without the token; a browser then asks for it."""
    if not access.admits(headers.get("authorization", "")):
        asking = {"WWW-Authenticate": 'Basic realm="securealign", charset="UTF-8"'}
        raise HTTPException(401, "The token is the password, under any name", headers=asking)
