"""Synthetic inputs that are like real embeddings in what matters for cost and precision, and contexts of one suite."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.errors import SecurealignWarning
from securealign.he.entropy import SystemEntropy
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix
from securealign.protocol.context import ClientContext, Codec, ProviderContext
from securealign.protocol.policy.rules import Output, Policy

_FACTORS = 64


@contextmanager
def made_up() -> Iterator[None]:
    """Silence the warning that rows may not belong together: synthetic ones do, also where they are too few to tell."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The public embeddings may not belong together", SecurealignWarning)
        yield


def synthetic_embeddings(samples: int, dim_a: int, dim_b: int, *, seed: int = 0) -> tuple[FloatMatrix, FloatMatrix]:
    """Return Z_A (samples, dim_a) and Z_B (samples, dim_b) of unit rows that share a decaying spectrum of factors."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((samples, _FACTORS)) / np.sqrt(1 + np.arange(_FACTORS))

    def embed(dimension: int) -> FloatMatrix:
        matrix = factors @ rng.standard_normal((_FACTORS, dimension)) + rng.standard_normal((samples, dimension))
        unit: FloatMatrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return unit

    return embed(dim_a), embed(dim_b)


def synthetic_head(features: int, classes: int, *, seed: int = 1) -> tuple[FloatMatrix, FloatMatrix]:
    """Return weight (features, classes) and bias (classes,)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((features, classes)), rng.standard_normal(classes)


def synthetic_linear_head(features: int, classes: int) -> LinearHead:
    """Return the same weight and bias as a head whose classes are numbered."""
    return LinearHead(*synthetic_head(features, classes), tuple(str(index) for index in range(classes)))


def client_context(codec: Codec, suite: str, **options: Any) -> ClientContext:  # noqa: ANN401 - as given
    """Return the context of a client that offers one suite, which may encrypt nothing."""
    suites = [get_suite(suite)]
    return ClientContext(codec=codec, suites=suites, entropy=SystemEntropy(), allow_unencrypted=True, **options)


def provider_context(codec: Codec, suite: str, output: Output = "logits", **options: Any) -> ProviderContext:  # noqa: ANN401 - as given
    """Return the context of a provider that takes one suite, which may encrypt nothing."""
    suites, policy = [get_suite(suite)], Policy(allow_unencrypted=True, output=output)
    return ProviderContext(codec=codec, suites=suites, entropy=SystemEntropy(), policy=policy, **options)
