"""A native library's suite behind the interface of all suites."""

import importlib.util
from dataclasses import dataclass
from functools import cache

from securealign.errors import SecurealignError
from securealign.he.entropy import Entropy
from securealign.he.forecast import CovarianceForecast, HeadForecast
from securealign.he.interface import CovarianceShape, CovarianceSizes, HeadShape, HeadSizes, LabelSecrets, SuiteInfo
from securealign.he.native.covariance import CovariancePlan, NativeCovarianceEncryptor, NativeCovarianceEvaluator
from securealign.he.native.forecast import forecast_covariance, forecast_head
from securealign.he.native.head import HeadPlan, NativeHeadEncryptor, NativeHeadEvaluator
from securealign.he.native.profile import CLAIMED_BITS, Profile
from securealign.he.native.worker import Worker
from securealign.matrices import FloatMatrix, Rows


@cache
def why_unavailable(profile: Profile) -> str:
    """Return why a library cannot be used here and what to do about it, or nothing; imports it in a worker only."""
    if importlib.util.find_spec(profile.package) is None:
        return f"{profile.package} is not installed; {profile.advice}"
    try:
        Worker(profile, "Probe").close()
    except SecurealignError as error:
        return f"{profile.package} is installed but does not work ({error.message}); {profile.advice}"
    return ""


@dataclass(frozen=True)
class NativeSuite:
    """Both jobs on one library; its own generators make all keys and errors, so injected randomness has no effect."""

    profile: Profile

    @property
    def info(self) -> SuiteInfo:
        """What the suite offers."""
        profile = self.profile
        rings = (profile.covariance.ring, profile.head.ring)
        return SuiteInfo(
            name=profile.name,
            parameter_set=profile.parameter_set,
            parameter_digest=profile.digest,
            classical_bits=CLAIMED_BITS,
            quantum_bits=CLAIMED_BITS * all(ring.security.quantum_bits >= CLAIMED_BITS for ring in rings),
            exact=False,
            function_private=False,
            restorable=False,
            offline_phase=False,
        )

    def covariance_sizes(self, shape: CovarianceShape) -> CovarianceSizes:
        """Return the exact sizes of key and result."""
        return CovariancePlan(self.profile, shape).sizes

    def head_sizes(self, shape: HeadShape) -> HeadSizes:
        """Return the exact sizes of key and answers; pools are empty."""
        return HeadPlan(self.profile, shape).sizes

    def covariance_forecast(self, shape: CovarianceShape) -> CovarianceForecast:
        """Return the messages and the work of a covariance."""
        return forecast_covariance(CovariancePlan(self.profile, shape))

    def head_forecast(self, shape: HeadShape) -> HeadForecast:
        """Return the messages and the work of a head."""
        return forecast_head(HeadPlan(self.profile, shape))

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> NativeCovarianceEncryptor:
        """Make the client's side of a covariance."""
        return NativeCovarianceEncryptor(CovariancePlan(self.profile, shape), session, rows)

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> NativeCovarianceEvaluator:
        """Make the provider's side of a covariance."""
        return NativeCovarianceEvaluator(CovariancePlan(self.profile, shape), session, rows)

    def head_encryptor(
        self, shape: HeadShape, session: bytes, entropy: Entropy, offer: bytes = b""
    ) -> NativeHeadEncryptor:
        """Make the client's side of a head."""
        return NativeHeadEncryptor(HeadPlan(self.profile, shape), session)

    def head_evaluator(
        self,
        shape: HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: LabelSecrets | None = None,
    ) -> NativeHeadEvaluator:
        """Make the provider's side of a head."""
        return NativeHeadEvaluator(HeadPlan(self.profile, shape), session, weight, bias)
