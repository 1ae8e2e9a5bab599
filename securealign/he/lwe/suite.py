"""The `lwe` suite behind the interface of all suites."""

from dataclasses import dataclass

from securealign.errors import LocalProtocolError
from securealign.he.entropy import Entropy
from securealign.he.forecast import CovarianceForecast, HeadForecast
from securealign.he.interface import CovarianceShape, CovarianceSizes, HeadShape, HeadSizes, LabelSecrets, SuiteInfo
from securealign.he.lwe import head
from securealign.he.lwe.covariance import LweCovarianceEncryptor, LweCovarianceEvaluator, covariance_plan, result_bytes
from securealign.he.lwe.forecast import forecast_covariance, forecast_head
from securealign.he.lwe.label_head import LabelHeadEncryptor, LabelHeadEvaluator
from securealign.he.lwe.label_plan import label_plan
from securealign.he.lwe.memory import covariance_memory, head_memory
from securealign.he.lwe.parameters import LWE_128, LweParameters
from securealign.matrices import FloatMatrix, Rows


@dataclass(frozen=True)
class LweSuite:
    """Linear algebra under plain LWE with one parameter set."""

    parameters: LweParameters = LWE_128

    @property
    def info(self) -> SuiteInfo:
        """What the suite offers."""
        return SuiteInfo(
            name="lwe",
            parameter_set=self.parameters.name,
            parameter_digest=self.parameters.digest,
            classical_bits=int(min(self.parameters.classical_bits, self.parameters.security.classical_bits)),
            quantum_bits=self.parameters.quantum_bits,
            exact=True,
            function_private=True,
            restorable=True,
            offline_phase=True,
            # The transfer of labels rests on an elliptic curve.
            label_only=self.parameters.quantum_bits == 0,
        )

    def covariance_sizes(self, shape: CovarianceShape) -> CovarianceSizes:
        """Return the exact sizes of key and result."""
        plan = covariance_plan(self.parameters, shape)
        return CovarianceSizes(key=plan.key_bytes, result=result_bytes(plan), memory=covariance_memory(plan))

    def head_sizes(self, shape: HeadShape) -> HeadSizes:
        """Return the exact sizes of key and pool."""
        if shape.labels is not None:
            return label_plan(self.parameters, shape).sizes
        plan = head.head_plan(self.parameters, shape)
        return HeadSizes(
            key=plan.key_bytes,
            pool=head.pool_bytes(plan),
            batch=head.query_batch(plan),
            answer=head.answer_bytes(plan, head.query_batch(plan)),
            answer_bits=head.answer_bits(plan),
            memory=head_memory(plan),
        )

    def covariance_forecast(self, shape: CovarianceShape) -> CovarianceForecast:
        """Return the messages and the work of a covariance."""
        return forecast_covariance(covariance_plan(self.parameters, shape))

    def head_forecast(self, shape: HeadShape) -> HeadForecast:
        """Return the messages and the work of a head."""
        if shape.labels is not None:
            return label_plan(self.parameters, shape).forecast
        return forecast_head(head.head_plan(self.parameters, shape))

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> LweCovarianceEncryptor:
        """Make the client's side of a covariance."""
        return LweCovarianceEncryptor(covariance_plan(self.parameters, shape), session, rows, entropy)

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> LweCovarianceEvaluator:
        """Make the provider's side of a covariance."""
        return LweCovarianceEvaluator(covariance_plan(self.parameters, shape), session, rows, entropy)

    def head_encryptor(
        self, shape: HeadShape, session: bytes, entropy: Entropy, offer: bytes = b""
    ) -> head.LweHeadEncryptor:
        """Make the client's side of a head."""
        if shape.labels is not None:
            return LabelHeadEncryptor(label_plan(self.parameters, shape), session, entropy, offer)
        return head.LweHeadEncryptor(head.head_plan(self.parameters, shape), session, entropy)

    def head_evaluator(
        self,
        shape: HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: LabelSecrets | None = None,
    ) -> head.LweHeadEvaluator:
        """Make the provider's side of a head."""
        if (labels is None) is not (shape.labels is None):
            raise LocalProtocolError("A head has label terms and label secrets, or neither.")
        if labels is not None:
            plan = label_plan(self.parameters, shape)
            return LabelHeadEvaluator(plan, session, weight, bias, entropy, secrets=labels)
        return head.LweHeadEvaluator(head.head_plan(self.parameters, shape), session, weight, bias, entropy)
