"""A store of accounts that may be used under its lock only."""

from __future__ import annotations

from typing import Any


class GuardedStore(dict[str, float]):
    """Its own lock; reading or writing without it is an error."""

    held = False

    def get(self, *arguments: Any) -> Any:
        assert self.held
        return super().get(*arguments)

    def __setitem__(self, name: str, value: float) -> None:
        assert self.held
        super().__setitem__(name, value)

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *unused: object) -> None:
        self.held = False
