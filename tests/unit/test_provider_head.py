"""A provider serves the head of its own encoder, and says at its start where labels will be uncertain."""

from __future__ import annotations

import json

import numpy as np
import pytest
from structlog.testing import capture_logs

from securealign.alignment import LinearHead
from securealign.alignment.coordinates import Space
from securealign.errors import ConfigurationError
from securealign.he.entropy import SystemEntropy
from securealign.pki.certificates import create_certificates
from securealign.provider import app
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

ROWS, DIMENSION = 60, 6
RANDOM = np.random.default_rng(0)


class Encoder:
    """An encoder of six dimensions with a fingerprint."""

    dimension = DIMENSION
    name = "fake"
    fingerprint = "a" * 64
    max_tokens = 64

    def encode(self, texts, *, progress=None):
        return RANDOM.normal(size=(len(texts), DIMENSION)).astype(np.float32)


@pytest.fixture
def site(tmp_path, monkeypatch):
    texts = "".join(json.dumps({"text": f"public text {index}"}) + "\n" for index in range(ROWS))
    (tmp_path / "public.jsonl").write_text(texts, encoding="utf-8")
    create_certificates(tmp_path / "certs", days=1)
    (tmp_path / "provider.toml").write_text(
        """
[server]
certificates = "certs/provider"
[public]
texts = "public.jsonl"
encoder = "fake"
[head]
folder = "head"
""",
        encoding="utf-8",
    )
    monkeypatch.setattr(app, "open_encoder", lambda name, **_: Encoder())
    monkeypatch.setattr(app, "encode_cached", lambda encoder, texts, report: encoder.encode(texts))
    return tmp_path


def start(site, *, shared=0.0, **metadata):
    """Save a head, with a weight that all classes share, and make the provider that would serve it."""
    weight = RANDOM.normal(size=(DIMENSION, 3)) + shared * RANDOM.normal(size=(DIMENSION, 1))
    LinearHead(weight, np.zeros(3), ("a", "b", "c")).save_pretrained(site / "head", **metadata)
    return app.Provider(load_settings(ProviderSettings, site / "provider.toml", []))


def test_a_head_of_another_encoder_of_as_many_dimensions_is_refused(site):
    with pytest.raises(ConfigurationError, match=r"fitted on another encoder.*fit the head again"):
        start(site, encoder_fingerprint="b" * 64, max_tokens=64)


def test_a_head_of_texts_of_another_length_is_warned_of(site):
    with capture_logs() as logs:
        start(site, encoder_fingerprint="b" * 64, max_tokens=128)
    (warning,) = (entry for entry in logs if entry["log_level"] == "warning")
    assert (warning["head_max_tokens"], warning["public_max_tokens"]) == (128, 64)


@pytest.mark.parametrize("metadata", [{}, {"encoder_fingerprint": "a" * 64, "max_tokens": 64}], ids=["older", "same"])
def test_the_head_of_its_encoder_and_an_older_one_are_served(site, metadata):
    with capture_logs() as logs:
        start(site, **metadata)
    assert not logs


@pytest.mark.parametrize(("shared", "warned"), [(0.0, False), (1e5, True)])
def test_a_head_whose_norm_costs_precision_is_warned_of(site, shared, warned):
    provider = start(site, shared=shared)
    space = Space.of(provider._public.rows, SystemEntropy())
    with capture_logs() as logs:
        provider._check_precision(space.fold(provider._head), space)
    assert [entry["event"] for entry in logs] == (["precision is short"] if warned else [])
    if warned:
        assert logs[0]["suite"] == "lwe-128"
        assert "of the labels cannot be trusted" in logs[0]["reason"]
