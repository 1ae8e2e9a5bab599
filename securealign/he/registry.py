"""The suites by name, and why one is unavailable here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from securealign.errors import ErrorCode, SuiteError
from securealign.he.interface import Suite
from securealign.he.lwe.parameters import PARAMETER_SETS
from securealign.he.lwe.suite import LweSuite
from securealign.he.native.suite import NativeSuite, why_unavailable
from securealign.he.openfhe_ckks.profile import PROFILE as OPENFHE_CKKS
from securealign.he.plaintext import PlaintextSuite
from securealign.he.tenseal_ckks.profile import PROFILE as TENSEAL_CKKS

#: The suite used when none is named.
DEFAULT_SUITE = "lwe"


@dataclass(frozen=True)
class Entry:
    """A suite that can be asked for by name."""

    make: Callable[[], Suite]
    summary: str
    #: Returns what is missing and what to do about it, or nothing.
    unavailable: Callable[[], str] = lambda: ""


_NATIVE = (
    (OPENFHE_CKKS, "CKKS on OpenFHE, the established library"),
    (TENSEAL_CKKS, "CKKS on TenSEAL, the paper's stack, to compare with"),
)

REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        "lwe": Entry(LweSuite, "linear algebra under plain LWE; the default"),
        **{
            name: Entry(partial(LweSuite, parameters), f"lwe with the parameter set {name}")
            for name, parameters in PARAMETER_SETS.items()
        },
        **{
            profile.name: Entry(partial(NativeSuite, profile), summary, partial(why_unavailable, profile))
            for profile, summary in _NATIVE
        },
        "plaintext": Entry(PlaintextSuite, "for tests, on loopback and in simulation only"),
    }
)


def get_suite(name: str) -> Suite:
    """Return a suite by name; raises `SuiteError` for one that is unknown or cannot run here."""
    entry = REGISTRY.get(name)
    if entry is None:
        raise SuiteError(f"There is no suite named {name!r}.", hint=f"Choose one of: {', '.join(REGISTRY)}.")
    if reason := entry.unavailable():
        raise SuiteError(f"The suite {name!r} cannot run here: {reason}", code=ErrorCode.SUITE_UNAVAILABLE)
    return entry.make()
