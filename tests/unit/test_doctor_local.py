"""What securealign doctor finds on one party's own machine."""

from __future__ import annotations

import datetime as dt
import json
import resource
import shutil

import numpy as np
import pytest
from support.endpoints import fake_endpoint
from support.sites import write_texts
from typer.testing import CliRunner

from securealign.alignment import AlignmentMap, LinearHead
from securealign.cli import app
from securealign.client.config import ClientSettings
from securealign.errors import ConfigurationError, ErrorCode, ExitCode
from securealign.files import write_atomically
from securealign.ops.doctor import encoder
from securealign.ops.doctor.configuration import read_configuration
from securealign.ops.doctor.local import Site, check_locally
from securealign.pki.authority import Authority
from securealign.pki.certificates import create_certificates
from securealign.pki.chains import now_utc

ROWS, DIM_A, DIM_B = 40, 6, 4


CLIENT = """
[provider]
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
[state]
folder = "state"
[a_section_of_a_later_release]
"""

PROVIDER = """
[server]
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public_a.npy"
[head]
folder = "head"
[policy]
suites = ["lwe", "lwe-128"]
max_queries = 4
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=90)
    return folder


@pytest.fixture
def site(certificates, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (0, 0))
    shutil.copytree(certificates, tmp_path / "certs")
    write_texts(tmp_path, ROWS)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "public_a.npy", rng.normal(size=(ROWS, DIM_A)))
    np.save(tmp_path / "public_b.npy", rng.normal(size=(ROWS, DIM_B)))
    LinearHead(rng.normal(size=(DIM_A, 2)), np.zeros(2), ("a", "b")).save_pretrained(tmp_path / "head")
    (tmp_path / "client.toml").write_text(CLIENT, encoding="utf-8")
    (tmp_path / "provider.toml").write_text(PROVIDER, encoding="utf-8")
    return tmp_path


def doctor(file, *arguments):
    done = CliRunner().invoke(app, ["doctor", "--config", str(file), "--json", *arguments])
    return done.exit_code, json.loads(done.stdout)["findings"]


def problems(file, *arguments):
    """Return the checks that did not pass, as (check, level, error)."""
    _, findings = doctor(file, *arguments)
    return [(item["check"], item["level"], item["error"]) for item in findings if item["level"] != "ok"]


def at(file, now):
    """Return the findings of a machine whose clock says `now`, those that are fine left out."""
    findings = check_locally(Site(read_configuration(file, None, []), clock=lambda: now))
    return [(item.check, item.level.value) for item in findings if item.level.value != "ok"]


@pytest.mark.parametrize("party", ["client", "provider"])
def test_nothing_is_found_where_nothing_is_wrong(site, party):
    code, findings = doctor(site / f"{party}.toml")
    assert code == ExitCode.OK
    assert {item["level"] for item in findings} == {"ok"}, findings
    assert not (site / "state").exists()


def test_a_configuration_that_is_missing_or_broken_is_the_only_finding(site):
    for content in (None, "nonsense", "[provider]\n", "[server]\n[provider]\n", "[other]\n"):
        path = site / "new.toml"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        code, findings = doctor(path)
        assert code == ExitCode.USAGE
        assert [(item["check"], item["error"]) for item in findings] == [("configuration", "CONFIGURATION_INVALID")]
        assert findings[0]["hint"]


def test_whose_file_it_is_can_be_said(site):
    (site / "both.toml").write_text(PROVIDER + CLIENT.partition("[public]")[0], encoding="utf-8")
    assert problems(site / "both.toml", "--party", "client") == []
    assert isinstance(read_configuration(site / "both.toml", "client", []), ClientSettings)


def test_a_provider_has_no_peer_to_ask(site):
    done = CliRunner().invoke(app, ["doctor", "--peer", "--config", str(site / "provider.toml"), "--json"])
    assert done.exit_code == ExitCode.USAGE
    assert "at the client" in json.loads(done.stdout)["hint"]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (-1, [("clock", "failed"), ("certificates", "failed")]),
        (75, [("certificates", "warning"), ("revocation", "warning")]),
        (91, [("certificates", "failed")]),
    ],
)
def test_certificates_that_are_of_another_time_or_soon_will_be(site, days, expected):
    assert at(site / "client.toml", now_utc() + dt.timedelta(days=days)) == expected


def test_a_list_of_revoked_certificates_that_has_expired(site):
    Authority(site / "certs").renew_list(list_days=5)
    assert at(site / "client.toml", now_utc() + dt.timedelta(days=6)) == [("revocation", "failed")]


def test_a_list_of_revoked_certificates_that_is_not_there(site):
    (site / "certs" / "client" / "crl.pem").unlink()
    assert problems(site / "client.toml") == [("revocation", "warning", "")]


def test_a_certificate_of_ones_own_that_was_revoked(site):
    Authority(site / "certs").revoke("client")
    assert problems(site / "client.toml") == [("certificates", "failed", "CERTIFICATE_REVOKED")]


def test_the_bundle_of_the_other_party(site):
    found = problems(site / "client.toml", "--set", "provider.certificates=certs/provider")
    assert found == [("certificates", "failed", "WRONG_ROLE")]


def test_a_bundle_that_is_not_there(site):
    found = problems(site / "client.toml", "--set", "provider.certificates=nowhere")
    assert found == [("certificates", "failed", "FILE_INVALID")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_can_read(site, mode):
    (site / "certs" / "client" / "key.pem").chmod(mode)
    assert problems(site / "client.toml") == [("permissions", "failed", "FILE_INVALID")]


@pytest.mark.parametrize("name", ["keys.store", "passphrase", "sessions.db"])
def test_what_a_party_keeps_that_others_can_read(site, name):
    write_atomically(site / "state" / name, b"", mode=0o644)
    (site / "state").chmod(0o700)
    assert problems(site / "client.toml") == [("permissions", "failed", "FILE_INVALID")]


def test_a_suite_that_nobody_knows(site):
    found = problems(site / "client.toml", "--set", 'provider.suites=["lwe", "rot13"]')
    assert found == [("suite", "failed", "SUITE_UNKNOWN")]


def test_a_suite_whose_extra_is_not_installed(site, monkeypatch):
    from securealign.he import registry

    entry = registry.REGISTRY["lwe"].__class__(registry.REGISTRY["lwe"].make, "", lambda: "run pip install x")
    monkeypatch.setattr(registry, "REGISTRY", {**registry.REGISTRY, "tenseal-ckks": entry})
    code, findings = doctor(site / "client.toml", "--set", 'provider.suites=["tenseal-ckks"]')
    failures = [item for item in findings if item["level"] == "failed"]
    assert [(item["check"], item["error"]) for item in failures] == [("suite", "SUITE_UNAVAILABLE")]
    assert "pip install" in failures[0]["message"]
    assert code == ExitCode.UNAVAILABLE


def test_an_encoder_whose_extra_is_not_installed(site, monkeypatch):
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    found = problems(site / "client.toml", "--set", "encoder.name=minilm")
    assert found == [("encoder", "failed", "DEPENDENCY_MISSING")]
    monkeypatch.setattr(encoder, "find_spec", lambda name: object())
    assert problems(site / "client.toml", "--set", "encoder.name=wordllama") == []


def test_a_device_that_this_machine_lacks(site, monkeypatch):
    monkeypatch.setattr(encoder, "find_spec", lambda name: object())
    asked = []

    def check(device):
        asked.append(device)
        raise ConfigurationError("No such device.", hint="Use cpu.")

    monkeypatch.setattr(encoder, "check_device", check)
    assert problems(site / "client.toml", "--set", "encoder.name=mpnet") == []
    found = problems(site / "client.toml", "--set", "encoder.name=mpnet", "--set", "encoder.device=cuda")
    assert found == [("encoder", "failed", "CONFIGURATION_INVALID")]
    assert asked == ["cuda"]


def at_endpoint(section, url):
    return [
        part
        for name, value in (("endpoint", url), ("model", "m"), ("api_key_env", "EMBEDDING_KEY"))
        for part in ("--set", f"{section}.{name}={value}")
    ]


def test_an_endpoint_is_reached_without_a_text_or_the_key(site, monkeypatch):
    monkeypatch.setenv("EMBEDDING_KEY", "canary-key")
    monkeypatch.setattr(encoder, "find_spec", lambda name: object())
    with fake_endpoint() as fake:
        code, findings = doctor(site / "client.toml", *at_endpoint("encoder", fake.url))
        provider = site / "with-endpoint.toml"
        provider.write_text(PROVIDER.replace('embeddings = "public_a.npy"\n', ""), encoding="utf-8")
        assert problems(provider, *at_endpoint("public", fake.url)) == []
    assert code == ExitCode.OK
    assert [item["check"] for item in findings if item["level"] == "warning"] == ["privacy"]
    assert "its key is set" in str(findings)
    assert "canary-key" not in str(findings)
    assert fake.requests == []
    assert problems(site / "client.toml", *at_endpoint("encoder", fake.url)) == [
        ("encoder", "failed", "ENDPOINT_UNAVAILABLE")
    ]


def test_an_endpoint_without_its_key_or_its_package(site, monkeypatch):
    monkeypatch.delenv("EMBEDDING_KEY", raising=False)
    for present, error in ((object(), "CONFIGURATION_INVALID"), (None, "DEPENDENCY_MISSING")):
        monkeypatch.setattr(encoder, "find_spec", lambda name, present=present: present)
        found = problems(site / "client.toml", *at_endpoint("encoder", "https://127.0.0.1:9/v1"))
        assert found == [("encoder", "failed", error)]


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("public.texts=nowhere.jsonl", "INPUT_INVALID"),
        ("public.embeddings=nowhere.npy", "FILE_INVALID"),
        ("public.texts=public_a.npy", None),
    ],
)
def test_public_data_that_cannot_be_read(site, setting, error):
    found = problems(site / "client.toml", "--set", setting)
    assert [(check, level) for check, level, _ in found] == [("public data", "failed")]
    assert error in {None, found[0][2]}


def test_embeddings_of_other_texts(site):
    np.save(site / "public_b.npy", np.ones((ROWS - 1, DIM_B)))
    assert problems(site / "client.toml") == [("public data", "failed", "SHAPE_MISMATCH")]


def test_a_head_that_is_not_there_or_of_another_encoder(site):
    assert problems(site / "provider.toml", "--set", "head.folder=nowhere") == [("head", "failed", "FILE_INVALID")]
    np.save(site / "public_a.npy", np.ones((ROWS, DIM_A + 1)))
    assert problems(site / "provider.toml") == [("dimension", "failed", "SHAPE_MISMATCH")]


def test_two_names_for_the_same_weights(site):
    named = ("--set", "heads.one.folder=head", "--set", "heads.two.folder=head")
    file = site / "provider.toml"
    file.write_text(PROVIDER.replace('[head]\nfolder = "head"\n', ""), encoding="utf-8")
    assert problems(file, *named) == [("heads", "failed", "CONFIGURATION_INVALID")]
    assert problems(file, *named[:2]) == []


def said(file, check, *arguments):
    """Return level, message and hint of a check."""
    (found,) = (item for item in doctor(file, *arguments)[1] if item["check"] == check)
    return found["level"], found["message"], found["hint"]


def test_how_often_a_client_may_train_is_told_beforehand(site):
    level, message, _ = said(site / "client.toml", "rank")
    assert level == "ok"
    assert message.endswith("40 texts allow at max_rank_fraction = 0.5, the default: enough for 1")
    assert "4 dimensions is charged 12 of the 19" in message
    more = ("encoder.endpoint=https://127.0.0.1:9/v1", "encoder.model=m", "encoder.dimensions=5")
    without = (site / "client.toml").read_text(encoding="utf-8").replace('embeddings = "public_b.npy"\n', "")
    (site / "endpoint.toml").write_text(without, encoding="utf-8")
    told = said(site / "endpoint.toml", "rank", *(part for setting in more for part in ("--set", setting)))
    assert "5 dimensions is charged" in told[1]
    # Without a file of embeddings, the map tells the dimension; before there is one, nothing does.
    client = CLIENT.replace('embeddings = "public_b.npy"\n', "") + '[encoder]\nname = "wordllama"\n'
    (site / "client.toml").write_text(client, encoding="utf-8")
    assert "rank" not in {item["check"] for item in doctor(site / "client.toml")[1]}
    AlignmentMap(np.zeros((8, DIM_A)), np.zeros(DIM_A), {}).save_pretrained(site / "alignment")
    level, message, hint = said(site / "client.toml", "rank")
    assert (level, "8 dimensions is charged 20 of the 19" in message) == ("warning", True)
    assert hint.startswith("Agree on 41 public texts")


def test_a_provider_is_told_how_often_its_clients_may_train(site):
    level, message, _ = said(site / "provider.toml", "rank", "--set", "policy.max_rank_fraction=0.25")
    assert level == "ok"
    assert message.startswith("40 texts at max_rank_fraction = 0.25 allow one client training sessions: 0 of 384, 0 of")
    assert "privacy" not in {item["check"] for item in doctor(site / "provider.toml")[1]}
    privacy = ("--set", "privacy.epsilon=1.0", "--set", "privacy.max_epsilon=2.7")
    level, message, _ = said(site / "provider.toml", "privacy", *privacy)
    assert level == "ok"
    assert "max_epsilon = 2.7 at delta = 1e-06 allow one client 6 over the same texts" in message


@pytest.mark.parametrize(
    ("setting", "level"),
    [("max_queries=7", "warning"), ("max_queries=6", "ok"), ("max_answer_bits=251", "ok"), ('output="label"', "ok")],
)
def test_a_head_that_follows_from_the_answers_allowed(site, setting, level):
    loose = ("--set", "policy.max_queries=100000", "--set", f"policy.{setting}")
    found = [item for item in doctor(site / "provider.toml", *loose)[1] if item["check"] == "answers"]
    assert [item["level"] for item in found] == (["warning"] if level == "warning" else [])
    for item in found:
        assert item["message"].startswith("The head is shared with every client that asks for it: 7 answers")
        assert item["hint"].startswith('To keep it, set output = "label", max_queries below 7')


def test_a_state_folder_that_cannot_be_written(site):
    (site / "file").touch()
    found = problems(site / "client.toml", "--set", "state.folder=file/state")
    assert found == [("state", "failed", "FILE_INVALID")]
    found = problems(site / "client.toml", "--set", "alignment.folder=file/map")
    assert found == [("alignment", "failed", "FILE_INVALID")]


def test_a_state_folder_that_others_can_read(site):
    (site / "state").mkdir(mode=0o755)
    (site / "state").chmod(0o755)
    assert problems(site / "client.toml") == [("state", "warning", "")]


def test_core_dumps_are_pointed_out(site, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (-1, -1))
    assert problems(site / "client.toml") == [("core dumps", "warning", "")]


def test_the_exit_code_is_that_of_the_first_failure(site):
    (site / "certs" / "client" / "key.pem").chmod(0o644)
    code, _ = doctor(site / "client.toml", "--set", 'provider.suites=["rot13"]')
    assert code == ErrorCode.FILE_INVALID.exit_code


def test_a_name_in_a_file_is_no_markup(site):
    done = CliRunner().invoke(
        app, ["doctor", "--config", str(site / "client.toml"), "--set", "provider.certificates=[red]x[/red]"]
    )
    assert "[red]x[/red]" in done.stdout
