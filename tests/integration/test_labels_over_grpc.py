"""Label-only answers over a real connection, and what the client's program writes of them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import structlog
from support.peers import (
    Provider,
    embeddings,
    inference,
    open_cheaply,
    policies,
    random_head,
    serving,
    three_bundles,
    tries,
    two_clients,
    when,
)
from typer.testing import CliRunner

from securealign.alignment import AlignmentMap
from securealign.client import __main__ as client_program
from securealign.errors import LocalProtocolError, TransportError
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol.messages import OutputMode, Query
from securealign.protocol.policy.rules import Policy

DIM, NAMES = 6, ("sports", "politics", "weather")
SUITES = [PlaintextSuite()]
HEAD = random_head(DIM, NAMES)
QUERIES = embeddings(12, DIM, 4)
LOGITS = HEAD.logits(QUERIES)
HIGHEST = LOGITS.max(axis=1)
ABSTAIN, *LEVELS = np.quantile(HIGHEST, [0.3, 0.5, 0.8])
#: What the client learns: 3 stands for no label.
EXPECTED = np.stack(
    [np.where(HIGHEST > ABSTAIN, LOGITS.argmax(axis=1), 3), (HIGHEST[:, None] > LEVELS).sum(axis=1)], axis=1
)
LABEL = {"output": "label"}
LEVELLED = {**LABEL, "abstain_below": float(ABSTAIN), "confidence_thresholds": tuple(map(float, LEVELS))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def certificates(folder):
    return three_bundles(folder / "certs")


@pytest.fixture
def serve(tmp_path, certificates):
    with policies(tmp_path / "provider", certificates[0], QUERIES, HEAD, SUITES) as start:
        yield start


@pytest.fixture
def client(tmp_path, certificates):
    with two_clients(tmp_path, certificates[1:], SUITES) as (made, _):
        yield made


def test_labels_confidence_and_abstention_travel_over_several_pools(certificates):
    policy = Policy(allow_unencrypted=True, **LEVELLED)
    provider = Provider(QUERIES, HEAD, list(SUITES), policy=policy)
    with serving(provider, certificates[0]) as (address, _):
        with inference(address, certificates[1], DIM, SUITES) as session:
            with pytest.raises(LocalProtocolError, match="no logits"):
                session.logits(QUERIES)
            found = np.vstack([session.answers(QUERIES[:5]), session.answers(QUERIES[5:])])
            session.close()
        report = provider.next_report()
        # The control: under the other policy the same session shows logits.
        provider.policy = replace(policy, output="logits", abstain_below=None, confidence_thresholds=())
        with inference(address, certificates[1], DIM, SUITES) as control:
            np.testing.assert_allclose(control.logits(QUERIES), LOGITS)
            control.close()
    np.testing.assert_array_equal(found, EXPECTED)
    assert len(set(EXPECTED[:, 0])) > 2
    assert 3 in EXPECTED[:, 0]
    assert set(EXPECTED[:, 1]) == {0, 1, 2}
    assert session.accepted.output is OutputMode.LABEL_CONFIDENCE
    assert report.error is None
    assert report.party.queries_answered == len(QUERIES)


def interrupted(provider, client):
    """Let the provider end after some answers, and the client with it."""
    client.on_event = when(3, Query, provider.stop)
    with pytest.raises(TransportError):
        client.classify(provider.address, QUERIES, tries(0))
    client.state.close()
    client.state = open_cheaply(client.state.keys.path.parent)
    client.on_event = lambda event: None


def test_interrupted_work_goes_on_with_labels(serve, client):
    provider = serve(**LEVELLED)
    interrupted(provider, client)
    provider = serve(**LEVELLED)
    np.testing.assert_array_equal(client.classify(provider.address, QUERIES), EXPECTED)
    assert provider.reports[-1].resumed
    assert provider.counters("answers")["client/queries"] == len(QUERIES)


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(LEVELLED, {}, LOGITS), ({}, LEVELLED, EXPECTED)], ids=["to logits", "to labels"]
)
def test_interrupted_work_begins_again_where_the_output_has_changed(serve, client, before, after, expected):
    provider = serve(**before)
    interrupted(provider, client)
    provider = serve(**after)
    np.testing.assert_allclose(client.classify(provider.address, QUERIES), expected)
    assert not provider.reports[-1].resumed
    assert provider.counters("answers")["client/queries"] > len(QUERIES)


CONFIGURATION = """
[provider]
certificates = "../certs/client"
suites = ["plaintext"]
[public]
texts = "public.jsonl"
embeddings = "public.npy"
"""


@pytest.fixture
def classify(tmp_path, folder, monkeypatch):
    """Run the client's program in this process on queries that its map leaves as they are."""
    monkeypatch.setattr(client_program, "redact_python_output", lambda: None)
    handlers = logging.root.handlers[:]
    site = folder / tmp_path.name
    site.mkdir()
    (site / "client.toml").write_text(CONFIGURATION, encoding="utf-8")
    np.save(site / "private.npy", QUERIES)
    AlignmentMap(np.eye(DIM), np.zeros(DIM), {"space": "00" * 16}).save_pretrained(site / "alignment")

    def run(provider, *arguments):
        settings = [*("--config", str(site / "client.toml")), *("--set", f"provider.address={provider.address}")]
        files = [*("--embeddings", str(site / "private.npy")), *("--stats", str(site / "stats.json"))]
        done = CliRunner().invoke(client_program.app, ["classify", *settings, *files, *arguments])
        assert done.exit_code == 0, done.output
        return done, json.loads((site / "stats.json").read_text(encoding="utf-8"))

    yield run
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def test_the_program_writes_labels_confidence_and_abstention(serve, classify):
    done, stats = classify(serve(**LEVELLED), "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    names = [*NAMES, None]
    for index, (result, (label, level)) in enumerate(zip(results, EXPECTED, strict=True)):
        expected = {"index": index, "label": names[label], "confidence": level, "head": stats["head"]}
        assert result == expected | ({"abstained": True} if label == 3 else {})
    assert (stats["output"], stats["uncertain_share"]) == ("label_confidence", None)
    # Twelve queries, and two that are asked twice.
    assert (stats["queries"], stats["checks"]) == (12, 2)


def test_the_program_writes_the_same_as_lines(serve, classify):
    done, _ = classify(serve(**LEVELLED), "--quiet")
    names = [*NAMES, ""]
    assert done.stdout.splitlines() == [
        f"{index}\t{names[label]}\t{level}" for index, (label, level) in enumerate(EXPECTED)
    ]


def test_the_program_writes_labels_without_names(serve, classify):
    provider = serve(**LABEL, publish_class_names=False)
    done, stats = classify(provider, "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"index": index, "label": str(label), "head": stats["head"]}
        for index, label in enumerate(LOGITS.argmax(axis=1))
    ]
    assert stats["output"] == "label"
    assert "within the error" not in classify(provider)[0].stderr


def test_the_program_writes_probabilities_where_answers_are_logits(serve, classify):
    """The control: the same call under the other policy."""
    done, stats = classify(serve(), "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(result) for result in results] == [{"index", "label", "score", "logits", "head"}] * len(QUERIES)
    np.testing.assert_allclose([result["logits"] for result in results], LOGITS)
    np.testing.assert_allclose([result["score"] for result in results], HEAD.predict_proba(QUERIES).max(axis=1))
    assert stats["uncertain_share"] == 0


@pytest.mark.parametrize("link", ["ovr", "margin"])
def test_scores_are_those_of_the_head_and_margins_have_none(serve, classify, link):
    provider = serve()
    heads = provider.catalogue.heads
    head = replace(heads["default"], head=replace(HEAD, link=link))
    provider.catalogue.heads = {"default": head}
    results = [json.loads(line) for line in classify(provider, "--json")[0].stdout.splitlines()]
    if link == "margin":
        np.testing.assert_allclose([result["margins"] for result in results], LOGITS)
        assert set(results[0]) == {"index", "label", "margins", "head"}
        assert len(classify(provider, "--quiet")[0].stdout.splitlines()[0].split("\t")) == 2
    else:
        expected = head.head.predict_proba(QUERIES).max(axis=1)
        np.testing.assert_allclose([result["score"] for result in results], expected)
        assert not np.allclose(expected, HEAD.predict_proba(QUERIES).max(axis=1))
