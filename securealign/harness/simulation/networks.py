"""Links between two parties, with where their figures come from; users describe their own in TOML."""

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from securealign.errors import ConfigurationError, ErrorCode, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Network(BaseModel):
    """A link: round trip without load, most jitter of a packet one way, bandwidths, and share of packets lost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=64)
    round_trip_ms: float = Field(ge=0, le=60_000)
    jitter_ms: float = Field(default=0.0, ge=0, le=10_000)
    up_mbit: float = Field(gt=0, le=1_000_000)
    down_mbit: float = Field(gt=0, le=1_000_000)
    loss: float = Field(default=0.0, ge=0, le=0.2)
    source: str = Field(default="", max_length=256)


@cache
def built_in_networks() -> Mapping[str, Network]:
    """Return the networks that come with this package, by name."""
    return _parse(files(__package__).joinpath("networks.toml").read_text(encoding="utf-8"), "networks.toml")


def find_networks(names: str) -> list[Network]:
    """Return the networks of a list separated by commas: built-in names, FILE.toml for all of a file, FILE.toml:NAME.

    Raises `ConfigurationError` for an unknown name and for a file that does not describe networks.
    """
    found = [network for name in names.split(",") if name.strip() for network in _find(name.strip())]
    if not found:
        raise _unknown(names, built_in_networks())
    # In order, each once.
    return list(dict.fromkeys(found))


def find_network(name: str) -> Network:
    """Return the one network of this name; raises `ConfigurationError` as `find_networks`, and for several."""
    found = find_networks(name)
    if len(found) > 1:
        raise ConfigurationError(
            f"{name!r} names {len(found)} networks where one is needed.", hint="Write FILE.toml:NAME for one of a file."
        )
    return found[0]


def _find(name: str) -> list[Network]:
    file = re.fullmatch(r"(.+?\.toml)(?::(.*))?", name, re.DOTALL)
    known = _parse(_read(Path(file[1])), file[1]) if file else built_in_networks()
    wanted = file[2] if file else name
    if not wanted:
        return list(known.values())
    if wanted not in known:
        raise _unknown(wanted, known)
    return [known[wanted]]


def _unknown(name: str, known: Mapping[str, Network]) -> ConfigurationError:
    return ConfigurationError(
        f"There is no network named {name!r}.",
        hint=f"{did_you_mean(name, known)}Use one of {', '.join(known)}, or a file that ends in .toml.",
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        undecodable = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        reason = error.strerror if isinstance(error, OSError) else undecodable
        raise ConfigurationError(
            f"{file} cannot be read: {reason}.", hint="Check the path of the networks.", code=ErrorCode.FILE_INVALID
        ) from error


def _parse(text: str, file: str) -> dict[str, Network]:
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(file, str(error)) from error
    networks = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _invalid(file, f"{name} is outside a table")
        if "name" in table:
            raise _invalid(file, f"{name}.name: a network is called as its table is")
        try:
            networks[name] = Network.model_validate({**table, "name": name})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, (name, *problem["loc"])))
            raise _invalid(file, f"{where}: {problem['msg']}") from error
    if not networks:
        raise _invalid(file, "it holds no network")
    return networks


def _invalid(file: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{file} does not describe networks: {reason}.",
        hint="Give each network a table [name] with round_trip_ms, up_mbit and down_mbit.",
    )
