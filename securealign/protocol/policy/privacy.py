"""Differential privacy of training: what a session costs, and what all sessions of a peer may cost together.

What is protected is one row of Z_A: whether the provider's embedding of one public text took part in the product, or
was zero. Rows of Z_A have norm at most c_A and those of the client at most 1, so one row changes the product by at most
c_A in 2-norm (the norm of an outer product), and Gaussian noise of standard deviation sigma c_A makes a session
mu-Gaussian private with mu = 1 / sigma. Sessions add up as sum mu^2, also when later ones depend on earlier results
(Dong, Roth, Su 2019), and mu says exactly which (epsilon, delta) hold (Balle, Wang 2018, theorem 8).

An account belongs to rows, as that of rank does: a session costs every row of its data set, wherever else the row is
served. What sessions cost a peer's data set is what they cost that of its rows which cost most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError
from securealign.protocol.policy.accounts import RowsAccount

#: What rounding in the accountant may add to a budget, relative to it.
_SLACK = 1e-9
#: log mu lies between these for every epsilon and delta that a number can hold.
_LOG_MU = (-60.0, 30.0)
_LARGEST_EPSILON = 1e6


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """A provider's rule for differential privacy; raises `ConfigurationError` for values that mean nothing."""

    #: What one session costs: any event about one row is at most e^epsilon times as likely, but for delta.
    epsilon: float
    delta: float = 1e-6
    #: c_A, the norm to which longer rows of Z_A are scaled down.
    row_norm: float = 1.0
    #: What all sessions of one peer may cost a row, at the same delta.
    max_epsilon: float

    def __post_init__(self) -> None:
        numbers = (self.epsilon, self.row_norm, self.max_epsilon)
        if not all(np.isfinite(number) and number > 0 for number in numbers) or self.epsilon > _LARGEST_EPSILON:
            raise ConfigurationError(
                "epsilon, row_norm and max_epsilon of differential privacy are numbers above zero.",
                hint=f"Use an epsilon of 0.5 to 10; it is at most {_LARGEST_EPSILON:g}.",
            )
        if not 0 < self.delta < 1:
            raise ConfigurationError(
                f"A delta of {self.delta:g} is no small probability.", hint="Use less than one in the public texts."
            )
        if self.max_epsilon < self.epsilon:
            raise ConfigurationError(
                f"max_epsilon = {self.max_epsilon:g} does not allow one session of epsilon = {self.epsilon:g}.",
                hint="Raise max_epsilon or lower epsilon.",
            )

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over the norm of the largest change that one row can make."""
        return 1 / _mu(self.epsilon, self.delta)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the smallest delta for which mu-Gaussian privacy is (epsilon, delta) privacy."""
    upper, lower = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(-np.exp(upper) * np.expm1(lower - upper))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon for which mu-Gaussian privacy is (epsilon, delta) privacy."""
    if mu == 0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    largest = 1.0
    while gaussian_delta(mu, largest) > delta:
        largest *= 2
    return _root(lambda epsilon: gaussian_delta(mu, epsilon) - delta, 0.0, largest)


def sessions_within(privacy: Privacy) -> int:
    """Return how many sessions one peer may have over the same texts."""
    return int((_mu(privacy.max_epsilon * (1 + _SLACK), privacy.delta) * privacy.noise_multiplier) ** 2)


def _mu(epsilon: float, delta: float) -> float:
    """Return the largest mu for which mu-Gaussian privacy is (epsilon, delta) privacy."""
    return float(np.exp(_root(lambda log_mu: gaussian_delta(np.exp(log_mu), epsilon) - delta, *_LOG_MU)))


def _root(function: Callable[[float], float], lower: float, upper: float) -> float:
    from scipy.optimize import brentq  # imported here: it takes 0.2 s, and only differential privacy needs it

    return float(brentq(function, lower, upper, xtol=1e-13, rtol=1e-13))


class PrivacyAccount(RowsAccount):
    """What sessions of one peer have cost over one public data set and over related ones: sums of mu^2."""

    def spent(self, delta: float) -> float:
        """Return the epsilon of all sessions together at a delta, for the row that cost most."""
        return gaussian_epsilon((self._own() + self._carried()) ** 0.5, delta)

    def charge(self, privacy: Privacy) -> None:
        """Count a session; raises `RemoteProtocolError`, and counts nothing, beyond `max_epsilon` in all."""
        with self.lock:
            total, carried = self._own() + privacy.noise_multiplier**-2, self._carried()
            epsilon = gaussian_epsilon((total + carried) ** 0.5, privacy.delta)
            if epsilon > privacy.max_epsilon * (1 + _SLACK):
                before = gaussian_epsilon(carried**0.5, privacy.delta)
                raise RemoteProtocolError(
                    f"With this session the peer's trainings would cost a row of these public texts epsilon = "
                    f"{epsilon:.3g} at delta = {privacy.delta:g}, {before:.3g} of it over other texts that share some "
                    f"of these; max_epsilon allows {privacy.max_epsilon:g}.",
                    hint="Agree on new public texts, or raise max_epsilon.",
                    code=ErrorCode.PRIVACY_BUDGET_EXHAUSTED,
                )
            self.store[self.name] = total

    def refund(self, privacy: Privacy) -> None:
        """Take back a session that ended before anything was computed from its rows."""
        with self.lock:
            self.store[self.name] = max(0.0, self._own() - privacy.noise_multiplier**-2)

    def _own(self) -> float:
        return float(self.store.get(self.name, 0.0))

    def _carried(self) -> float:
        """Return the sum of mu^2 over related data sets, for the row to which they cost most."""
        costs = [(other.common, float(self.store.get(self.name_over(other), 0.0))) for other in self.related]
        size = max((common.bit_length() for common, _ in costs), default=0) // 8 + 1
        rows = np.zeros(8 * size)
        for common, cost in costs:
            if cost:
                bits = np.frombuffer(common.to_bytes(size, "little"), dtype=np.uint8)
                rows += cost * np.unpackbits(bits, bitorder="little")
        return float(rows.max())
