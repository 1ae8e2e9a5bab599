"""What the libraries really serialise fits the room that their profiles declare, which all messages are padded to."""

from __future__ import annotations

import importlib
from contextlib import closing

import numpy as np
import pytest
from support.optional import library

from securealign.he.interface import HeadShape
from securealign.he.openfhe_ckks.profile import PROFILE as OPENFHE
from securealign.he.tenseal_ckks.profile import PROFILE as TENSEAL

#: Sizes that vary are spread by some hundred bytes at most; what is left beyond the largest seen is the margin.
REPETITIONS = 60
PROFILES = {profile.name: profile for profile in (OPENFHE, TENSEAL)}


@pytest.fixture(params=PROFILES)
def native(request):
    """A profile and its engine."""
    profile = PROFILES[request.param]
    library(profile.package, suite=profile.name)
    return profile, importlib.import_module(profile.engine)


def assert_fits(sizes: list[int], room: int) -> None:
    """Check that sizes fit with as much to spare as they are spread, and that not much more is padding."""
    assert max(sizes) + (max(sizes) - min(sizes)) <= room
    assert room <= 1.1 * max(sizes) + 2048


def rows_of(random: np.random.Generator, count: int, columns: int, norm: float) -> np.ndarray:
    """Return rows from nothing to the largest numbers, whose size must not show."""
    return random.normal(size=(count, columns)) * norm / 10 ** np.linspace(1, 12, count)[:, None]


def test_a_covariance(native):
    profile, engine = native
    job, random = profile.covariance, np.random.default_rng(1)
    sizes = []
    for _ in range(5):
        with closing(engine.CovarianceClient(3)) as client:
            sizes.append(len(client.key()))
    assert_fits(sizes, profile.covariance_key_bytes)
    with closing(engine.CovarianceClient(3)) as client:
        provider = engine.CovarianceProvider(REPETITIONS, 3)
        provider.accept_key(client.key())
        fresh = client.encrypt(rows_of(random, REPETITIONS, 3, job.message_norm))
        assert_fits([len(data) for data in fresh], job.fresh_bytes)
        provider.absorb(fresh[:2], random.normal(size=(2, REPETITIONS)) * job.operand_norm / 10)
        assert_fits([len(data) for data in provider.finish()], job.evaluated_bytes)
        provider_of_zeros = engine.CovarianceProvider(1, 3)
        provider_of_zeros.accept_key(client.key())
        provider_of_zeros.absorb(client.encrypt(np.zeros((1, 3))), np.zeros((1, 1)))
        assert_fits([len(data) for data in provider_of_zeros.finish()], job.evaluated_bytes)


@pytest.mark.parametrize(("features", "classes"), [(1, 1), (20, 4), (768, 150)])
def test_a_head(native, features, classes):
    profile, engine = native
    job, random = profile.head, np.random.default_rng(2)
    room = profile.head_key_bytes(HeadShape(provider_dim=features, classes=classes, slots=1))
    with closing(engine.HeadClient(features, classes)) as client:
        key = client.key()
        assert_fits([len(key)], room)
        fresh = client.encrypt(rows_of(random, REPETITIONS, features + 1, job.message_norm / features))
        assert_fits([len(data) for data in fresh], job.fresh_bytes)
        few = min(classes, 4)
        if few == classes:
            provider = engine.HeadProvider(random.normal(size=(features + 1, classes)) * job.operand_norm / 100)
            provider.accept_key(key)
            assert_fits([len(data) for data in provider.evaluate(fresh[:12])], job.evaluated_bytes)
