"""Which suites a comparison is about."""

from __future__ import annotations

from securealign.he import registry
from securealign.he.registry import get_suite

ALL = "all"
#: The computation without any protection, a column beside the suites.
CLEAR = "clear"
#: The stack of the paper; the others show their ratio to it where it is measured.
BASELINE = "tenseal-ckks"


def selected(names: str) -> list[str]:
    """Return the suites in a list separated by commas, each once; "all" stands for what encrypts and can run here.

    Raises `SuiteError` for a name that is unknown or cannot run here.
    """
    chosen: dict[str, None] = {}
    for name in (part.strip() for part in names.split(",")):
        chosen |= dict.fromkeys(_encrypting() if name == ALL else [name])
    for name in chosen:
        get_suite(name)
    return list(chosen)


def _encrypting() -> list[str]:
    """Return the first name of every parameter set that encrypts and can run here."""
    found: dict[bytes, str] = {}
    for name, entry in registry.REGISTRY.items():
        if entry.unavailable():
            continue
        info = entry.make().info
        if info.encrypts:
            found.setdefault(info.parameter_digest, name)
    return list(found.values())
