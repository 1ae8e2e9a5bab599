"""What a provider checks at its start: the encoder of its head, precision, who may know the head, and earlier texts."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.peers import loaded_offers

from securealign import models
from securealign.alignment import LinearHead
from securealign.errors import ConfigurationError
from securealign.pki.certificates import create_certificates
from securealign.provider import loading
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
    monkeypatch.setattr(models, "open_encoder", lambda name, **_: Encoder())
    monkeypatch.setattr(loading, "encode_cached", lambda encoder, texts, report: encoder.encode(texts))
    return tmp_path


def start(site, *, shared=0.0, settings=(), **metadata):
    """Save a head, with a weight that all classes share, and load what a provider would offer; returns that."""
    weight = RANDOM.normal(size=(DIMENSION, 3)) + shared * RANDOM.normal(size=(DIMENSION, 1))
    LinearHead(weight, np.zeros(3), ("a", "b", "c")).save_pretrained(site / "head", **metadata)
    chosen = load_settings(ProviderSettings, site / "provider.toml", ["policy.max_queries=1", *settings])
    with loaded_offers(chosen) as offers:
        return offers


def events(logs):
    return [entry["event"] for entry in logs if entry["log_level"] == "warning"]


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
    assert not events(logs)


@pytest.mark.parametrize(("shared", "warned"), [(0.0, False), (1e5, True)])
def test_a_head_whose_norm_costs_precision_is_warned_of(site, shared, warned):
    with capture_logs() as logs:
        start(site, shared=shared)
    assert events(logs) == (["precision is short"] if warned else [])
    if warned:
        assert logs[-1]["suite"] == "lwe-128"
        assert "of the labels cannot be trusted" in logs[-1]["reason"]


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ((), True),
        (("policy.max_queries=7",), True),
        (("policy.max_queries=6",), False),
        (("policy.max_answer_bits=378",), True),
        (("policy.max_answer_bits=377",), False),
        (("policy.output_bits=8", "policy.max_answer_bits=168"), True),
        (("policy.output_bits=8", "policy.max_answer_bits=167"), False),
        (('policy.output="label"',), False),
    ],
)
def test_a_head_that_follows_from_the_answers_allowed_is_warned_of(site, settings, warned):
    # Seven answers of three logits determine the head; a logit holds 18 bits unless it is told to hold fewer.
    with capture_logs() as logs:
        start(site, settings=["policy.max_queries=100000", *settings])
    # A logit of eight bits is also told to be short of precision.
    assert ("the head is shared" in events(logs)) is warned
    if warned:
        assert "7 answers in logits determine it" in logs[-1]["reason"]
        assert 'set output = "label", max_queries below 7, or max_answer_bits below' in logs[-1]["reason"]


def related(site):
    """Return the data set that a provider serves and the earlier ones that sessions are charged for."""
    (served,) = start(site)._catalogue.spaces.values()
    return served.public.digest, served.public.related


@pytest.mark.parametrize(("kind", "prefix"), [("rank", "charged/"), ("privacy", "")])
def test_charges_of_an_earlier_data_set_are_found_when_its_texts_are_served_again(site, kind, prefix):
    first, none = related(site)
    assert none == ()
    more = (site / "public.jsonl").read_text(encoding="utf-8") + json.dumps({"text": "another"}) + "\n"
    (site / "public.jsonl").write_text(more, encoding="utf-8")
    # Nobody was charged over the first data set, so it is forgotten.
    second, none = related(site)
    assert none == ()
    with sqlite3.connect(site / "provider-state" / "sessions.db") as database:
        database.execute("INSERT INTO counter VALUES (?, ?, 5)", (kind, f"{prefix}{second.hex()}/peer"))
    (site / "public.jsonl").write_text(more.replace("public text 0", "replaced"), encoding="utf-8")
    third, (earlier,) = related(site)
    assert len({first, second, third}) == 3
    assert (earlier.digest, earlier.rows, earlier.common.bit_count()) == (second, ROWS + 1, ROWS)
