"""The catalogue of suites on native libraries, an entry point of the group `securealign.suites`."""

from functools import partial

from securealign.he.interface import Entry
from securealign.he.native.suite import NativeSuite, why_unavailable
from securealign.he.openfhe_ckks.profile import PROFILE as OPENFHE_CKKS
from securealign.he.tenseal_ckks.profile import PROFILE as TENSEAL_CKKS

_SUMMARIES = (
    (OPENFHE_CKKS, "CKKS on OpenFHE, the established library"),
    (TENSEAL_CKKS, "CKKS on TenSEAL, the paper's stack, to compare with"),
)

SUITES = {
    profile.name: Entry(partial(NativeSuite, profile), summary, partial(why_unavailable, profile))
    for profile, summary in _SUMMARIES
}
