"""The suites by name.

Suites outside this package come from the catalogues of the entry-point group `securealign.suites`: mappings from a name
to an `Entry`. The suites on native libraries, which are optional, come the same way.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from securealign.errors import ErrorCode, SuiteError, did_you_mean
from securealign.extensions import catalogue
from securealign.he.interface import Entry, Suite
from securealign.he.lwe.parameters import PARAMETER_SETS
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite

__all__ = ["DEFAULT_SUITE", "REGISTRY", "Entry", "get_suite"]

#: The suite used when none is named.
DEFAULT_SUITE = "lwe"


_OWN = {
    "lwe": Entry(LweSuite, "linear algebra under plain LWE; the default"),
    **{
        name: Entry(partial(LweSuite, parameters), f"lwe with the parameter set {name}")
        for name, parameters in PARAMETER_SETS.items()
    },
}

REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        **_OWN,
        **catalogue("securealign.suites"),
        "plaintext": Entry(PlaintextSuite, "for tests, on loopback and in simulation only"),
    }
)


def get_suite(name: str) -> Suite:
    """Return a suite by name; raises `SuiteError` for one that is unknown or cannot run here."""
    entry = REGISTRY.get(name)
    if entry is None:
        raise SuiteError(
            f"There is no suite named {name!r}.",
            hint=f"{did_you_mean(name, REGISTRY)}Choose one of: {', '.join(REGISTRY)}.",
        )
    if reason := entry.unavailable():
        raise SuiteError(f"The suite {name!r} cannot run here: {reason}", code=ErrorCode.SUITE_UNAVAILABLE)
    return entry.make()
