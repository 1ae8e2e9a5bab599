"""securealign invite, join and certs sign, as two operators run them."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path

import pytest
from support.pairing import ADDRESS, DIM_B, ROWS, TEXTS, make_provider, run, write_texts
from typer.testing import CliRunner

from securealign.cli import app
from securealign.cli import invite as invite_command
from securealign.cli import join as join_command
from securealign.client import joining
from securealign.client.config import ClientSettings
from securealign.data import load_public
from securealign.errors import ErrorCode, ExitCode
from securealign.keys.envelope import ScryptCost
from securealign.pki import invitations
from securealign.pki.authority import Authority
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.pki.chains import now_utc
from securealign.pki.invitations import parse
from securealign.settings import load_settings

PASSPHRASE = {"ACME_PASSPHRASE": "a long passphrase"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_provider(tmp_path_factory.mktemp("made") / "provider")


@pytest.fixture
def site(made, tmp_path, monkeypatch):
    """Two folders, provider/ and client/, with the client's as the current one."""
    shutil.copytree(made, tmp_path / "provider")
    (tmp_path / "client").mkdir()
    monkeypatch.chdir(tmp_path / "client")
    return tmp_path


def invite(site, *arguments, name="acme", output="acme.invite", address=ADDRESS):
    config = ("--config", site / "provider" / "provider.toml")
    return run("invite", name, "--address", address, "-o", site / output, *config, *arguments)


def sign(site, request, output="acme.cert"):
    return run("certs", "sign", request, "-o", site / output, "--certs", site / "provider" / "certs")


def invited(site, *arguments):
    assert invite(site, *arguments).code == ExitCode.OK
    return site / "acme.invite"


def joined(site, *arguments):
    done = run("join", invited(site, "--with-texts"), *arguments)
    assert done.code == ExitCode.OK, done.value
    return Path("acme")


def refused(done, code):
    """Require a typed refusal with advice, and return what it says."""
    assert done.code == code.exit_code, done.value
    assert done.value["error"] == code.name
    assert done.value["hint"]
    return done.value["message"]


def files():
    return {str(path) for path in Path().rglob("*") if path.is_file()}


def test_two_folders_are_paired(site):
    embeddings = site / "provider" / "public_b.npy"
    file = invited(site, "--with-texts")
    asked = run("join", file, "--embeddings", embeddings)
    assert asked.value["request"] == "acme/acme.request"
    expected = {"client.toml", "public.jsonl", "acme.request", *(f"certs/{name}.pem" for name in ("ca", "crl", "key"))}
    assert files() == {f"acme/{name}" for name in expected}
    assert Path("acme/certs/key.pem").stat().st_mode & 0o777 == 0o600
    assert Path("acme").stat().st_mode & 0o777 == Path("acme/certs").stat().st_mode & 0o777 == 0o700
    signed = sign(site, "acme/acme.request")
    assert signed.value["key"] == asked.value["key"]
    completed = run("join", "--certificate", site / "acme.cert")
    assert completed.value == {"folder": "acme", "certificate": "acme/certs/cert.pem"}
    bundle = load_bundle(Path("acme/certs"), Role.CLIENT)
    assert bundle.certificate.count(b"BEGIN CERTIFICATE") == 1
    settings = load_settings(ClientSettings, Path("acme/client.toml"), [])
    assert settings.provider.address == ADDRESS
    assert settings.encoder is None
    assert settings.public.embeddings == embeddings
    assert load_public("acme/public.jsonl").texts == TEXTS
    assert Authority(site / "provider" / "certs").issued()[0].identity.name == "acme"
    assert sorted(path.name for path in (site / "provider" / "certs").iterdir()) == ["ca", "client", "provider"]


def test_both_sides_show_the_same_fingerprints(site):
    config = ["--config", str(site / "provider" / "provider.toml"), "--address", ADDRESS]
    here = CliRunner().invoke(app, ["invite", "acme", *config, "-o", str(site / "acme.invite")]).stdout
    there = CliRunner().invoke(app, ["join", str(site / "acme.invite")]).stdout
    command = ["certs", "sign", "acme/acme.request", "-o", "acme.cert", "--certs", str(site / "provider" / "certs")]
    signed = CliRunner().invoke(app, command).stdout

    def line(text, word):
        return next(row.split(maxsplit=1)[1][:39] for row in text.splitlines() if row.startswith(word))

    assert line(here, "authority") == line(there, "authority")
    assert line(there, "key") == line(signed, "key")
    assert "name your own encoder" in there
    assert f"the provider's {ROWS} public texts" in there
    assert "securealign join --certificate acme.cert" in signed
    assert "next" in CliRunner().invoke(app, ["join", "--certificate", "acme.cert"]).stdout


def test_the_invitation_says_what_the_provider_offers(site):
    read = parse(invited(site).read_bytes())
    assert (read.suites, read.heads, read.rows, read.texts) == (("lwe",), ("default",), ROWS, None)
    assert read.digest == load_public(str(site / "provider" / "public.jsonl")).digest.hex()
    assert (site / "acme.invite").stat().st_mode & 0o777 == 0o600
    text = (site / "provider" / "provider.toml").read_text(encoding="utf-8")
    (site / "provider" / "provider.toml").write_text(
        text.replace('[public]\ntexts = "public.jsonl"\nembeddings = "public.npy"\n', ""), encoding="utf-8"
    )
    refused(invite(site, "--with-texts", output="no"), ErrorCode.CONFIGURATION_INVALID)
    assert invite(site, output="head.invite", name="globex", address="127.0.0.1:1").code == ExitCode.OK
    assert parse((site / "head.invite").read_bytes()).digest is None
    assert run("join", site / "head.invite").code == ExitCode.OK
    assert "does not train" in doctor(site / "head.invite", "--timeout", "600")[1]["public data"]["message"]


def test_the_configuration_keeps_its_comments_and_waits_for_an_encoder(site):
    joined(site)
    text = Path("acme/client.toml").read_text(encoding="utf-8")
    assert "# TO CHOOSE" in text
    assert "# The kind of map." in text
    assert f"{ROWS} texts, digest" in text
    settings = load_settings(ClientSettings, Path("acme/client.toml"), [])
    assert settings.encoder.name == "mpnet"
    assert settings.provider.certificates == Path("certs")


def test_the_encoder_is_a_folder_or_a_name(site):
    Path("model").mkdir()
    joined(site, "--encoder", "model")
    assert load_settings(ClientSettings, Path("acme/client.toml"), []).encoder.name == str(Path("model").absolute())
    shutil.rmtree("acme")
    assert run("join", site / "acme.invite", "--encoder", 'owner/"name"').code == ExitCode.OK
    assert load_settings(ClientSettings, Path("acme/client.toml"), []).encoder.name == 'owner/"name"'


def test_public_texts_of_the_client_must_be_those_of_the_provider(site):
    same, other = write_texts(site / "same.jsonl"), write_texts(site / "other.jsonl", reversed(TEXTS))
    file = invited(site)
    assert "not those of the provider" in refused(run("join", file, "--texts", other), ErrorCode.DATASET_MISMATCH)
    assert files() == set()
    assert run("join", file, "--texts", same).code == ExitCode.OK
    assert load_settings(ClientSettings, Path("acme/client.toml"), []).public.texts == str(same)


def test_suites_that_do_not_encrypt_are_left_out(site):
    both = ("--set", 'policy.suites=["plaintext","lwe","unheard-of"]')
    assert run("join", invited(site, *both)).code == ExitCode.OK
    assert load_settings(ClientSettings, Path("acme/client.toml"), []).provider.suites == ("lwe",)
    assert invite(site, "--set", 'policy.suites=["plaintext"]', output="p.invite", name="p").code == ExitCode.OK
    refused(run("join", site / "p.invite"), ErrorCode.CONFIGURATION_INVALID)
    assert not Path("p").exists()


def test_an_existing_folder_gets_what_it_does_not_have(site):
    Path("acme").mkdir()
    Path("acme/mine.txt").write_text("mine", encoding="utf-8")
    joined(site)
    assert {"acme/mine.txt", "acme/client.toml", "acme/certs/key.pem"} <= files()
    assert {path.name for path in Path().iterdir()} == {"acme"}


@pytest.mark.parametrize("existing", ["client.toml", "public.jsonl", "acme.request", "certs/key.pem"])
def test_an_existing_file_is_named_and_nothing_is_written(site, existing):
    (Path("acme") / existing).parent.mkdir(parents=True, exist_ok=True)
    (Path("acme") / existing).write_text("mine", encoding="utf-8")
    said = refused(run("join", invited(site, "--with-texts")), ErrorCode.FILE_INVALID)
    assert existing.split("/", maxsplit=1)[0] in said
    assert files() == {f"acme/{existing}"}
    assert (Path("acme") / existing).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("folder_exists", [False, True])
def test_an_error_leaves_nothing_behind(site, monkeypatch, folder_exists):
    file = invited(site, "--with-texts")
    if folder_exists:
        Path("acme").mkdir()
        # The last file to be moved into an existing folder appears meanwhile.
        real = joining.write_new

        def racing(path, data, **options):
            real(path, data, **options)
            Path("acme/public.jsonl").write_text("mine", encoding="utf-8")

        monkeypatch.setattr(joining, "write_new", racing)
    else:
        monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    refused(run("join", file), ErrorCode.FILE_INVALID)
    assert files() == ({"acme/public.jsonl"} if folder_exists else set())
    assert [path.name for path in Path().iterdir()] == (["acme"] if folder_exists else [])


def test_a_certificate_completes_the_folder_in_which_it_is_run(site, monkeypatch):
    joined(site)
    sign(site, "acme/acme.request")
    monkeypatch.chdir("acme")
    assert run("join", "--certificate", site / "acme.cert").value["folder"] == "."
    said = refused(run("join", "--certificate", site / "acme.cert"), ErrorCode.FILE_INVALID)
    assert "already" in said


def test_a_certificate_of_another_key_is_refused(site):
    joined(site)
    shutil.move("acme", "first")
    assert run("join", site / "acme.invite").code == ExitCode.OK
    sign(site, "first/acme.request")
    before = files()
    said = refused(run("join", "--certificate", site / "acme.cert"), ErrorCode.FILE_INVALID)
    assert "another key" in said
    assert files() == before
    assert run("join", "--certificate", site / "acme.cert", "--folder", "first").code == ExitCode.OK


def test_a_certificate_of_another_authority_is_refused(site):
    joined(site)
    create_certificates(site / "other", days=1)
    other = site / "other" / "client" / "cert.pem"
    said = refused(run("join", "--certificate", other, "--folder", "acme"), ErrorCode.PEER_UNTRUSTED)
    assert "another authority" in said
    both = site / "both.cert"
    both.write_bytes(other.read_bytes() + Path("acme/certs/ca.pem").read_bytes())
    refused(run("join", "--certificate", both, "--folder", "acme"), ErrorCode.PEER_UNTRUSTED)
    assert not Path("acme/certs/cert.pem").exists()


def test_an_older_list_of_revoked_certificates_does_not_replace_a_newer_one(site):
    old = (site / "provider" / "certs" / "ca" / "crl.pem").read_bytes()
    authority = Authority(site / "provider" / "certs", clock=lambda: now_utc() + dt.timedelta(minutes=5))
    authority.revoke("client")
    joined(site)
    newer = Path("acme/certs/crl.pem").read_bytes()
    sign(site, "acme/acme.request")
    signed = (site / "acme.cert").read_bytes()
    (site / "acme.cert").write_bytes(signed[: signed.index(b"-----BEGIN X509 CRL")] + old)
    assert run("join", "--certificate", site / "acme.cert").code == ExitCode.OK
    assert Path("acme/certs/crl.pem").read_bytes() == newer != old


def test_a_list_that_was_renewed_since_comes_with_the_certificate(site):
    joined(site)
    Authority(site / "provider" / "certs", clock=lambda: now_utc() + dt.timedelta(minutes=5)).revoke("client")
    sign(site, "acme/acme.request")
    assert run("join", "--certificate", site / "acme.cert").code == ExitCode.OK
    assert Path("acme/certs/crl.pem").read_bytes() == (site / "provider" / "certs" / "ca" / "crl.pem").read_bytes()


def test_the_current_folder_can_join(site):
    file = invited(site)
    assert run("join", file, "--folder", ".").code == ExitCode.OK
    assert files() == {"client.toml", "acme.request", "certs/ca.pem", "certs/crl.pem", "certs/key.pem"}
    sign(site, "acme.request")
    assert run("join", "--certificate", site / "acme.cert").value["folder"] == "."


def test_files_that_are_no_certificate_are_refused(site):
    joined(site)
    (site / "x.cert").write_bytes(b"\xff")
    refused(run("join", "--certificate", site / "x.cert", "--folder", "acme"), ErrorCode.FILE_INVALID)
    refused(run("join", "--certificate", site / "none.cert"), ErrorCode.FILE_INVALID)
    sign(site, "acme/acme.request")
    said = refused(run("join", "--certificate", site / "acme.cert", "--folder", "elsewhere"), ErrorCode.FILE_INVALID)
    assert "no folder that has joined" in said


def test_a_private_key_that_was_exchanged_is_refused(site):
    joined(site)
    sign(site, "acme/acme.request")
    Path("acme/certs/key.pem").write_text("no key", encoding="utf-8")
    refused(run("join", "--certificate", site / "acme.cert"), ErrorCode.FILE_INVALID)


def test_a_sealed_invitation_makes_a_complete_folder(site, monkeypatch):
    monkeypatch.setattr(invitations, "ScryptCost", lambda: ScryptCost(log2_n=4))
    for name, value in PASSPHRASE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WRONG", "another passphrase")
    file = invited(site, "--with-key", "--with-texts", "--passphrase-env", "ACME_PASSPHRASE")
    refused(run("join", file, "--passphrase-env", "WRONG"), ErrorCode.PASSPHRASE_WRONG)
    assert files() == set()
    command = ["join", str(file), "--passphrase-env", "ACME_PASSPHRASE"]
    assert "securealign doctor" in CliRunner().invoke(app, command).stdout
    assert load_bundle(Path("acme/certs"), Role.CLIENT)
    assert not Path("acme/acme.request").exists()
    assert "sealed" in run("doctor", file).value["findings"][0]["message"]
    lines = CliRunner().invoke(
        app,
        ["invite", "b", "--with-key", "--passphrase-env", "ACME_PASSPHRASE", "--address", ADDRESS, "-o", "b.invite",
         "--config", str(site / "provider" / "provider.toml")],
    ).stdout  # fmt: skip
    assert "over another channel" in lines


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("::1:50051", "brackets"),
        ("2001:db8::7:50051", "brackets"),
        ("provider.example.org", "no address"),
        ("provider.example.org:", "no address"),
        ("provider.example.org:0", "no address"),
        ("prövider.example:50051", "no address"),
        ("0.0.0.0:50051", "nothing that a client can connect to"),
        ("[::]:50051", "nothing that a client can connect to"),
    ],
)
def test_an_address_that_no_client_can_use_is_refused(site, address, said):
    assert said in refused(invite(site, address=address), ErrorCode.CONFIGURATION_INVALID)
    assert not (site / "acme.invite").exists()


@pytest.mark.parametrize("address", ["[::1]:50051", "10.0.0.7:50051", "provider:1"])
def test_other_addresses_are_taken(site, address):
    assert invite(site, address=address).code == ExitCode.OK


def test_outputs_are_never_replaced(site):
    invited(site)
    before = (site / "acme.invite").read_bytes()
    assert "already exists" in refused(invite(site, name="b"), ErrorCode.FILE_INVALID)
    assert (site / "acme.invite").read_bytes() == before
    refused(invite(site, output="nowhere/b.invite", name="b"), ErrorCode.FILE_INVALID)
    run("join", site / "acme.invite")
    (site / "acme.cert").write_text("mine", encoding="utf-8")
    refused(sign(site, "acme/acme.request"), ErrorCode.FILE_INVALID)
    assert sign(site, "acme/acme.request", "second.cert").code == ExitCode.OK
    assert "used before" in refused(sign(site, "acme/acme.request", "third.cert"), ErrorCode.INPUT_INVALID)


def test_an_authority_that_is_not_the_providers_is_refused(site):
    create_certificates(site / "other", days=1)
    said = refused(invite(site, "--certs", site / "other"), ErrorCode.FILE_INVALID)
    assert "another authority" in said
    refused(invite(site, "--certs", site), ErrorCode.FILE_INVALID)


def test_texts_too_large_for_an_invitation_are_refused(site, monkeypatch):
    monkeypatch.setattr(invite_command, "MAX_BYTES", 1000)
    assert "--with-texts" in invite(site, "--with-texts").value["hint"]
    assert not (site / "acme.invite").exists()


def test_an_expired_invitation_is_refused_at_the_client(site, monkeypatch):
    file = invited(site, "--days", 1)
    monkeypatch.setattr(join_command, "now_utc", lambda: now_utc() + dt.timedelta(days=2))
    assert "expired" in refused(run("join", file), ErrorCode.INPUT_INVALID)
    assert files() == set()


def test_an_altered_invitation_is_refused_at_the_client(site):
    file = invited(site)
    file.write_bytes(file.read_bytes().replace(b"provider.example.org", b"attacker.example.org"))
    assert "was altered" in refused(run("join", file), ErrorCode.FILE_INVALID)
    assert files() == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every file")
def test_an_unreadable_invitation_is_named(site):
    file = invited(site)
    file.chmod(0)
    assert "Permission denied" in refused(run("join", file), ErrorCode.FILE_INVALID)


def test_a_command_line_that_asks_for_two_things_is_refused(site):
    file = invited(site)
    for arguments in ([], [file, "--certificate", file], [file, "--encoder", "a", "--embeddings", "b"]):
        refused(run("join", *arguments), ErrorCode.CONFIGURATION_INVALID)


def doctor(*arguments):
    done = run("doctor", *arguments)
    return done.code, {finding["check"]: finding for finding in done.value["findings"]}


def test_doctor_says_what_is_in_an_invitation(site):
    # Nothing listens on port 1.
    invite(site, "--with-texts", address="127.0.0.1:1")
    code, found = doctor(site / "acme.invite", "--timeout", "600")
    assert code == ErrorCode.PEER_UNREACHABLE.exit_code
    assert [name for name, finding in found.items() if finding["level"] == "failed"] == ["port"]
    assert "for acme at" in found["invitation"]["message"]
    assert found["head"]["message"] == "default"
    assert "in the invitation" in found["public data"]["message"]


def test_doctor_finds_an_invitation_that_was_altered_or_is_none(site):
    file = invited(site)
    file.write_bytes(file.read_bytes()[:-9])
    code, found = doctor(file)
    assert (code, list(found)) == (ExitCode.INPUT, ["invitation"])
    code, found = doctor(site / "nothing")
    assert (code, list(found)) == (ExitCode.INPUT, ["invitation"])


def test_doctor_names_the_next_command_while_the_certificate_is_missing(site):
    joined(site, "--embeddings", site / "provider" / "public_b.npy")
    code, found = doctor("--config", "acme/client.toml")
    assert code == ExitCode.INPUT
    assert "still missing" in found["certificates"]["message"]
    assert "acme/acme.request" in found["certificates"]["hint"]
    assert "securealign join --certificate acme.cert" in found["certificates"]["hint"]
    sign(site, "acme/acme.request")
    run("join", "--certificate", site / "acme.cert")
    code, found = doctor("--config", "acme/client.toml")
    assert found["certificates"]["level"] == "ok"
    assert str(DIM_B) in found["public data"]["message"]


def test_json_is_the_only_output(site):
    done = CliRunner().invoke(app, ["join", str(invited(site)), "--json"])
    assert done.stderr == ""
    assert json.loads(done.stdout)["folder"] == "acme"
