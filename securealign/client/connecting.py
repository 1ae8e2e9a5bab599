"""Opens a client from its settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from securealign.client.awaited import AsyncOpenClient
from securealign.client.config import ClientSettings
from securealign.client.connection import OpenClient
from securealign.errors import (
    ConfigurationError,
)
from securealign.settings import load_settings


def connect(
    config: str | Path | None = None,
    *,
    address: str | None = None,
    certificates: str | Path | None = None,
    encoder: str | None = None,
    folder: str | Path | None = None,
    head: str = "",
    overrides: Sequence[str] = (),
) -> OpenClient:
    """Return an open client from a configuration file, or from an address and folders; nothing is sent yet.

    Without a file, `address` and `certificates` are needed, and `folder` holds the map, the client's state and
    public.jsonl. `encoder` is a built-in name, a folder or a hub id. `head` names one of the provider's heads, and
    `overrides` have the form section.name=value. Raises `ConfigurationError` for what does not fit.
    """
    if config is None:
        return OpenClient(_settings(address, certificates, encoder, folder, head))
    if not (address is None and certificates is None and encoder is None and folder is None):
        raise ConfigurationError(
            "A configuration file and settings beside it were given.",
            hint="Put address, certificates, encoder and folder into the file, or give overrides.",
        )
    chosen = [f"provider.head={json.dumps(head)}"] if head else []
    return OpenClient(load_settings(ClientSettings, Path(config), [*overrides, *chosen]))


def aconnect(
    config: str | Path | None = None,
    *,
    address: str | None = None,
    certificates: str | Path | None = None,
    encoder: str | None = None,
    folder: str | Path | None = None,
    head: str = "",
    overrides: Sequence[str] = (),
) -> AsyncOpenClient:
    """Return an open client whose calls are awaited; see `connect`."""
    return AsyncOpenClient(
        connect(
            config,
            address=address,
            certificates=certificates,
            encoder=encoder,
            folder=folder,
            head=head,
            overrides=overrides,
        )
    )


def _settings(
    address: str | None,
    certificates: str | Path | None,
    encoder: str | None,
    folder: str | Path | None,
    head: str,
) -> ClientSettings:
    if address is None or certificates is None:
        raise ConfigurationError(
            "There is no address or no folder of certificates.",
            hint="Give a configuration file, or address= and certificates=.",
        )
    base = Path(folder) if folder is not None else Path()
    values: dict[str, Any] = {
        "provider": {"address": address, "certificates": Path(certificates).absolute(), "head": head},
        "alignment": {"folder": (base / "alignment").absolute()},
        "state": {"folder": (base / "client-state").absolute()},
    }
    if encoder is not None:
        values["encoder"] = {"name": encoder}
    if (texts := base / "public.jsonl").exists():
        values["public"] = {"texts": str(texts.absolute())}
    try:
        return ClientSettings(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"These settings cannot be used: {problems}.") from error
