"""Configuration files: TOML, overridden by the environment, overridden by flags.

An environment variable is the prefix of the program, the section and the name, joined by two underscores:
`SECUREALIGN_CLIENT__PROVIDER__ADDRESS`. Paths in a file are relative to the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from securealign.errors import ConfigurationError, did_you_mean
from securealign.keys.passphrase import PassphraseChoice, Source

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from securealign.models import Encoder, Endpoint
    from securealign.storage.opening import State


#: Of sections that are dataclasses of the protocol: unknown names are errors.
FORBID_UNKNOWN = ConfigDict(extra="forbid")
#: What pydantic calls a name that a model or a dataclass does not have.
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}

_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]{1,3})?")
#: Settings that only an endpoint has.
_OF_ENDPOINTS = {"model", "dimensions", "api_key_env", "allow_plain_http", "timeout_seconds", "revision"}


class Section(BaseModel):
    """A section of a configuration file; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


@dataclass(config=FORBID_UNKNOWN, frozen=True)
class PassphraseSection(PassphraseChoice):
    """Where the passphrase of the key store comes from; a generated one lies in the state folder."""

    source: Source = "generated"


class StateSection(Section):
    """What a party keeps between connections and processes, and for how long."""

    folder: Path = Path("state")
    passphrase: PassphraseSection = PassphraseSection()
    keep_days: float = Field(default=7, gt=0)
    key_days: float | None = Field(default=90, gt=0)
    key_sessions: int | None = Field(default=None, gt=0)


class EncoderChoice(Section):
    """A party's encoder: one that runs here, or a model at an OpenAI-compatible endpoint, which then sees all texts.

    Sections of both parties derive from it; `encoder_name` is what they call a built-in name, a folder or a hub id.
    """

    max_tokens: int | None = Field(default=None, gt=0)
    prompt: str | None = None
    device: str = "cpu"
    endpoint: str | None = None
    model: str | None = Field(default=None, min_length=1)
    dimensions: int | None = Field(default=None, gt=0)
    api_key_env: str | None = None
    allow_plain_http: bool = False
    timeout_seconds: float = Field(default=60, gt=0)
    revision: str = ""

    @property
    def encoder_name(self) -> str | None:
        """The encoder that runs here; None where it is at an endpoint, or there is none."""
        return None

    @property
    def encoders(self) -> int:
        """How many encoders are named, of which one can be used."""
        return (self.encoder_name is not None) + (self.endpoint is not None)

    @property
    def at(self) -> Endpoint | None:
        """The model at an endpoint; raises `ConfigurationError` for an address that cannot be used."""
        if self.endpoint is None or self.model is None:
            return None
        from securealign.models import Endpoint

        return Endpoint(
            url=self.endpoint,
            model=self.model,
            dimensions=self.dimensions,
            api_key_env=self.api_key_env,
            allow_plain_http=self.allow_plain_http,
            timeout_seconds=self.timeout_seconds,
        )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError("write cpu, mps, cuda, or cuda:1 for the second GPU")
        return device

    @model_validator(mode="after")
    def _one_kind(self) -> EncoderChoice:
        given = self.model_fields_set
        if self.endpoint is None:
            stray = sorted(given & _OF_ENDPOINTS)
            if stray:
                raise ValueError(f"{', '.join(stray)} belong to an endpoint, and none is given")
            return self
        if self.model is None:
            raise ValueError("an endpoint needs model, the name under which it knows the model")
        if self.max_tokens is not None or self.device != "cpu":
            raise ValueError("max_tokens and device belong to an encoder that runs here: leave them out")
        try:
            _ = self.at
        except ConfigurationError as error:
            raise ValueError(f"{error.message} {error.hint}") from None
        return self


class Settings(BaseSettings):
    """Base of a program's settings: flags, then environment, then the values of the file that `load_settings` read."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_nested_delimiter="__", protected_namespaces=())
    #: Threads that large products use; None is as many as the process may use processors.
    compute_threads: int | None = Field(default=None, gt=0)
    toml_file: ClassVar[Path | None] = None
    toml_values: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(cls.toml_values))

    def path(self, value: Path) -> Path:
        """Return a path of the settings, relative to their file."""
        return (self.toml_file or Path()).parent / value.expanduser()

    def open_state(self, section: StateSection) -> State:
        """Open what the party keeps in its state folder; raises `KeyStoreError` for what cannot be opened."""
        from securealign.storage.opening import KeyLimits, State

        folder, choice = self.path(section.folder), section.passphrase
        file = self.path(choice.file) if choice.file is not None else folder / "passphrase"
        lifetime = None if section.key_days is None else timedelta(days=section.key_days)
        return State.open(
            folder, replace(choice, file=file).open(), KeyLimits(lifetime=lifetime, sessions=section.key_sessions)
        )

    def open_encoder(self, choice: EncoderChoice) -> Encoder:
        """Open the encoder of a section; raises what `securealign.models.open_encoder` and `EndpointEncoder` raise."""
        from securealign import models

        if choice.at is not None:
            return models.EndpointEncoder(choice.at, prompt=choice.prompt, revision=choice.revision)
        if choice.encoder_name is None:
            raise ConfigurationError("There is no encoder.", hint="Name one, or give embeddings made elsewhere.")
        name = self.path_or_name(choice.encoder_name)
        return models.open_encoder(name, max_tokens=choice.max_tokens, prompt=choice.prompt, device=choice.device)

    def path_or_name(self, value: str) -> str:
        """Return `value` as a path if there is one, relative to the file, and unchanged otherwise: a name or hub id."""
        path = self.path(Path(value))
        return str(path) if path.exists() else value


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], file: Path, overrides: list[str], *, ignore_unknown: bool = False) -> S:
    """Read the settings of a program from `file` with `overrides` of the form section.name=value.

    Raises `ConfigurationError` naming every value that does not fit. With `ignore_unknown`, names of the file that this
    release does not know are left out.
    """
    values = read_toml(file)
    declared = {"toml_file": file, "toml_values": values, "__module__": kind.__module__, "__doc__": kind.__doc__}
    bound = type(kind.__name__, (kind,), declared)
    try:
        return _validated(bound, values, overrides, ignore_unknown=ignore_unknown)
    except ValidationError as error:
        problems = "; ".join(_problem(item) for item in error.errors())
        nearest = "".join(_nearest(kind, item) for item in error.errors() if item["type"] in _UNKNOWN)
        raise ConfigurationError(
            f"{file} cannot be used: {problems}.", hint=f"{nearest}See the commented example."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"The environment cannot be used: {error}.", hint="A list or a section is written there as JSON."
        ) from error


def read_toml(file: Path) -> dict[str, Any]:
    """Return the values of a configuration file; raises `ConfigurationError` for one that is missing or no TOML."""
    if not file.is_file():
        raise ConfigurationError(
            f"There is no configuration file {file}.",
            hint="Write an example with comments by 'securealign init', and edit it.",
        )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}.", hint="See the commented example.") from error


def _validated(bound: type[S], values: dict[str, Any], overrides: list[str], *, ignore_unknown: bool) -> S:
    try:
        return bound(**_nested(overrides))
    except ValidationError as error:
        unknown = [item["loc"] for item in error.errors() if item["type"] in _UNKNOWN]
        if not (ignore_unknown and any(_removed(values, place) for place in unknown)):
            raise
    return _validated(bound, values, overrides, ignore_unknown=ignore_unknown)


def _removed(values: dict[Any, Any], place: tuple[int | str, ...]) -> bool:
    """Remove what lies at a place of nested dictionaries; returns whether there was anything."""
    *sections, name = place
    for section in sections:
        values = values.get(section, {})
    return values.pop(name, None) is not None


def _problem(item: ErrorDetails) -> str:
    """Return in words what is wrong with a value."""
    return f"{'.'.join(map(str, item['loc']))}: {'unknown name' if item['type'] in _UNKNOWN else item['msg']}"


def _nearest(kind: type[Settings], item: ErrorDetails) -> str:
    """Return the question whether the known name was meant that is nearest to an unknown one."""
    *sections, name = map(str, item["loc"])
    known = _fields(kind)
    for section in sections:
        # A table of named sections has the names of its user, and below them the fields of one section.
        known = _fields(known[section]) if section in known else known
    return did_you_mean(name, known)


def _fields(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - a section, perhaps an optional one
    """Return the annotations of the fields of a section by name."""
    for option in (annotation, *get_args(annotation)):
        if found := getattr(option, "__pydantic_fields__", None):
            return {name: field.annotation for name, field in found.items()}
    return {}


def _nested(overrides: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for override in overrides:
        place, separator, value = override.partition("=")
        *sections, name = place.split(".")
        if not (separator and sections and name and all(sections)):
            raise ConfigurationError(f"{override!r} is no override.", hint="Write section.name=value.")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = _value(value)
    return values


def _value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """Return `text` as the TOML value it is, and otherwise as a string that needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
