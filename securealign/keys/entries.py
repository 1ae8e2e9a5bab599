"""What a store knows about each key, and when a key may be used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from securealign.errors import KeyStoreError
from securealign.keys.handles import KEY_BYTES, KeyHandle, Purpose, issue, key_name


class KeyState(Enum):
    """What may be done with a key."""

    #: Begins new sessions.
    ACTIVE = "active"
    #: Serves sessions that were begun with it, no new ones.
    RETIRED = "retired"
    EXPIRED = "expired"
    USED_UP = "used up"
    #: Its secret is gone; the entry remains as a record.
    DESTROYED = "destroyed"


class KeyEntry(BaseModel):
    """What is known about a key, without its secret; all times are UTC."""

    # An error of validation prints its input otherwise, which may hold a root.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, ser_json_bytes="hex", val_json_bytes="hex"
    )

    name: str
    purpose: Purpose
    created: AwareDatetime
    expires: AwareDatetime | None
    uses: int = Field(ge=0)
    max_uses: int | None = Field(ge=1)
    retired: AwareDatetime | None = None
    destroyed: AwareDatetime | None = None

    def state(self, now: datetime) -> KeyState:
        """Return what may be done with the key at a time."""
        if self.destroyed is not None:
            return KeyState.DESTROYED
        if self.retired is not None:
            return KeyState.RETIRED
        if self.expires is not None and now >= self.expires:
            return KeyState.EXPIRED
        if self.max_uses is not None and self.uses >= self.max_uses:
            return KeyState.USED_UP
        return KeyState.ACTIVE

    @property
    def lifetime(self) -> timedelta | None:
        """How long the key lives from its creation."""
        return None if self.expires is None else self.expires - self.created


class Record(KeyEntry):
    """An entry as it is stored, with the root of a key that was not destroyed."""

    root: bytes | None = Field(repr=False, min_length=KEY_BYTES, max_length=KEY_BYTES)

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if (self.root is None) != (self.destroyed is not None):
            raise ValueError("a key has a root unless it was destroyed")
        if self.root is not None and key_name(self.root) != self.name:
            raise ValueError("the name of a key is the hash of its public part")
        return self

    def entry(self) -> KeyEntry:
        """Return what may be shown of the record."""
        return KeyEntry(**self.model_dump(exclude={"root"}))

    def handle(self) -> KeyHandle | None:
        """Return the key, or nothing when it was destroyed."""
        if self.root is None:
            return None
        return issue(self.root, self.purpose, created=self.created, expires=self.expires)

    def changed(self, **values: object) -> Record:
        """Return the record with other values."""
        return self.model_copy(update=values)


class Contents(BaseModel):
    """Everything that a store holds, the oldest key first."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    records: tuple[Record, ...] = ()

    def encode(self) -> bytes:
        """Return the contents as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, data: bytes) -> Contents:
        """Read contents; raises `KeyStoreError` for what this release does not understand, rather than lose it."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise KeyStoreError(
                "The key store holds entries that this release does not understand.",
                hint="Use the release that wrote it. Nothing was changed.",
            ) from None

    def of(self, purpose: Purpose) -> Sequence[Record]:
        """Return the records of a purpose, the oldest first."""
        return [record for record in self.records if record.purpose is purpose]

    def replaced(self, *records: Record) -> Contents:
        """Return the contents with these records in the place of those of the same names, and new ones at the end."""
        changes = {record.name: record for record in records}
        kept = tuple(changes.pop(record.name, record) for record in self.records)
        return Contents(records=kept + tuple(changes.values()))
