"""How similar the embeddings of the public texts are: CKA, SVCCA, R^2 of the map, and what training shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securealign.alignment.clear import ClearFit
from securealign.alignment.regression import require_related
from securealign.alignment.scaling import deviations
from securealign.errors import InputError
from securealign.lab.experiments.compat.setting import CompatConfig
from securealign.lab.experiments.embeddings import Vectors
from securealign.lab.experiments.leakage.spectrum import Spectrum
from securealign.lab.experiments.store import Row, Store
from securealign.lab.measures.similarity import KeptComponents, debiased_cka, linear_cka

#: Principal components that SVCCA keeps (paper, section 3).
COMPONENTS = (64, 128)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """CKA and SVCCA of held-out public rows, None where the texts are too few, and figures of the fit on all rows."""

    cka: float
    cka_debiased: float | None
    svcca_64: float
    svcca_64_shuffled: float
    svcca_64_components: int
    svcca_128: float
    svcca_128_shuffled: float
    svcca_128_components: int
    #: Estimate of the share of the variance, in the provider's private coordinates, that the ridge map explains of
    #: texts that it has not seen: what `align` prints.
    r2_unseen: float
    #: Deviations by which the fit exceeds what unrelated rows reach, and whether training would be refused for it.
    relatedness: float
    refused: bool
    #: Share of the variance of the provider's public embeddings that the client learns from training.
    shown: float


def likeness(setting: CompatConfig, store: Store) -> Likeness:
    """Return how alike the sides are; computed once for two encoders and public texts."""
    return Likeness(**store.rows("compat-likeness", setting.key, lambda: [_compute(setting)])[0])


def _compute(setting: CompatConfig) -> Row:
    rows_b, rows_a, fitted, held = setting.rows_b, setting.rows_a, setting.fitted, setting.held
    fit = setting.fit
    return {
        "cka": linear_cka(rows_b[held], rows_a[held]),
        "cka_debiased": _debiased(rows_b[held], rows_a[held]),
        **_svcca([rows_b[fitted], rows_a[fitted]], [rows_b[held], rows_a[held]]),
        "r2_unseen": fit.regression.explained_unseen(fit.penalty),
        "relatedness": fit.regression.relatedness(fit.penalty),
        "refused": _refused(fit) or _refused(setting.fit_without_held),
        "shown": Spectrum.of(rows_b, deviations(rows_b)).fit(rows_a).leaked,
    }


def _refused(fit: ClearFit) -> bool:
    try:
        require_related(fit.regression, fit.penalty)
    except InputError:
        return True
    return False


def _debiased(rows_b: Vectors, rows_a: Vectors) -> float | None:
    try:
        return debiased_cka(rows_b, rows_a)
    except InputError:
        return None


def _svcca(train: Sequence[Vectors], test: Sequence[Vectors]) -> Row:
    most = max(COMPONENTS)
    client, provider = (KeptComponents.of(fitted, held, most) for fitted, held in zip(train, test, strict=True))
    order = np.random.default_rng(0).permutation(len(train[0]))
    row: Row = {}
    for components in COMPONENTS:
        found = client.svcca(provider, components)
        row |= {
            f"svcca_{components}": found.held_out,
            f"svcca_{components}_shuffled": client.svcca(provider, components, order).held_out,
            f"svcca_{components}_components": found.components,
        }
    return row
