"""Both parties with encoders at endpoints: what they say, what they refuse, and a whole session of processes."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.endpoints import DIMENSION, fake_endpoint
from support.optional import needs
from support.peers import loaded_offers
from support.sites import provider_process, run_client, write_texts
from typer.testing import CliRunner

from securealign.alignment import AlignmentMap, LinearHead
from securealign.cli import app as securealign
from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.errors import EndpointError, ErrorCode, ExitCode
from securealign.models.endpoint import likeness_of
from securealign.pki.certificates import create_certificates
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

pytestmark = needs("openai", extra="endpoint")

KEY = "canary-key-5772156649"
ROWS = 60
CLIENT = """
[provider]
certificates = "certs/client"
[encoder]
endpoint = "{url}"
model = "small"
dimensions = 6
api_key_env = "EMBEDDING_KEY"
[public]
texts = "public.jsonl"
[alignment]
map = "ridge"
"""
PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
endpoint = "{url}"
model = "large"
api_key_env = "EMBEDDING_KEY"
[head]
folder = "head"
[policy]
max_rank_fraction = 1.0
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=1)
    return folder


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    with fake_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def site(fake, certificates, tmp_path):
    (tmp_path / "certs").symlink_to(certificates)
    write_texts(tmp_path, ROWS)
    for name, content in (("client", CLIENT), ("provider", PROVIDER)):
        (tmp_path / f"{name}.toml").write_text(content.format(url=fake.url), encoding="utf-8")
    labelled = [json.dumps({"text": f"labelled {row}", "label": "ab"[row % 2]}) for row in range(40)]
    (tmp_path / "labelled.jsonl").write_text("\n".join(labelled), encoding="utf-8")
    return tmp_path


def client(site, *overrides):
    return Client(load_settings(ClientSettings, site / "client.toml", list(overrides)))


def nothing(done, total):
    pass


def test_a_client_says_once_who_sees_the_private_texts_and_each_time_what_it_cost(site, fake):
    party = client(site)
    with capture_logs() as logs:
        for _ in range(2):
            assert party.encode(["private text"], cache=False).shape == (1, 6)
            party._tell_usage()
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [(entry["event"], entry["host"]) for entry in warnings] == [
        ("the vendor of the endpoint sees the private texts", fake.url[7:-3])
    ]
    used = [entry for entry in logs if entry["event"] == "endpoint used"]
    assert [(entry["embedded"], entry["tokens"]) for entry in used] == [(6, 12), (7, 14)]


def test_a_map_of_a_model_that_changed_is_refused_though_the_cache_is_another(site, fake, monkeypatch):
    encoder = client(site)._encoder
    metadata = {"space": "00" * 16, "encoder": encoder.fingerprint, **likeness_of(encoder)}
    AlignmentMap(np.zeros((6, 4)), np.zeros(4), metadata).save_pretrained(site / "alignment")
    assert client(site).alignment.weight.shape == (6, 4)
    fake.seed = "two"
    monkeypatch.setenv("SECUREALIGN_CACHE", str(site / "another cache"))
    with pytest.raises(
        EndpointError, match=r"The map in .* was made with another model: cosines .* differ by"
    ) as caught:
        _ = client(site).alignment
    assert caught.value.code is ErrorCode.ENDPOINT_CHANGED
    # Without the cosines, nothing would tell.
    del metadata["encoder_canaries"]
    AlignmentMap(np.zeros((6, 4)), np.zeros(4), metadata).save_pretrained(site / "alignment")
    assert client(site).alignment.weight.shape == (6, 4)


def fit_head(site, *arguments):
    command = ["head", "fit", "--data", str(site / "labelled.jsonl"), "--output", str(site / "head"), "--json"]
    return CliRunner().invoke(securealign, [*command, "--inverse-penalty", "1", *arguments])


def served_rows(site):
    """Return the public embeddings of the provider of a folder."""
    with loaded_offers(load_settings(ProviderSettings, site / "provider.toml", ["policy.max_queries=1"])) as offers:
        return offers._catalogue.spaces["default"].public.rows


def test_a_head_is_fitted_and_served_with_the_endpoint_of_the_provider_s_file(site, fake, monkeypatch):
    assert fit_head(site, "--config", str(site / "provider.toml")).exit_code == ExitCode.OK
    metadata = LinearHead.from_pretrained(site / "head").metadata
    assert metadata["encoder"] == f"large at {fake.url[7:-3]}"
    with capture_logs() as logs:
        assert served_rows(site).shape == (ROWS, DIMENSION)
    assert [entry["embedded"] for entry in logs if "embedded" in entry] == [ROWS + 5]
    fake.seed = "two"
    monkeypatch.setenv("SECUREALIGN_CACHE", str(site / "another cache"))
    with pytest.raises(EndpointError, match="The head 'default' was made with another model"):
        served_rows(site)


def test_options_of_another_source_are_no_use_beside_the_provider_s_file(site):
    for options in (["--device", "cuda"], ["--max-tokens", "9"], ["--prompt", "query: "]):
        done = fit_head(site, "--config", str(site / "provider.toml"), *options)
        assert "belong to --encoder" in json.loads(done.stdout)["message"]
    plain = PROVIDER.split("endpoint", maxsplit=1)[0] + 'embeddings = "public.npy"\n[head]\nfolder = "head"\n'
    (site / "provider.toml").write_text(plain, encoding="utf-8")
    done = fit_head(site, "--config", str(site / "provider.toml"))
    assert "names no encoder" in json.loads(done.stdout)["message"]


@pytest.mark.thorough
def test_both_programs_with_endpoints_as_processes_keep_the_key_to_themselves(site):
    assert fit_head(site, "--config", str(site / "provider.toml")).exit_code == ExitCode.OK
    (site / "private.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    environment = {**os.environ, "OPENAI_LOG": "debug"}
    with provider_process(site / "provider.toml") as (_process, line):
        record = ("--record", str(site / "run.jsonl"))
        aligned = run_client(site / "client.toml", line["port"], "align", *record, env=environment)
        assert aligned.returncode == ExitCode.OK, aligned.stderr
        private = ("--input", str(site / "private.txt"), "--record", str(site / "run-2.jsonl"))
        classified = run_client(site / "client.toml", line["port"], "classify", *private, env=environment)
        assert classified.returncode == ExitCode.OK, classified.stderr
    assert len(classified.stdout.splitlines()) == 3
    assert classified.stderr.count("sees the private texts") == 1
    assert "sees the private texts" not in aligned.stderr
    assert "endpoint used" in aligned.stderr
    written = [path for path in site.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
    assert KEY not in aligned.stderr + aligned.stdout + classified.stderr + classified.stdout
